"""MaskGIT's VQGAN (arXiv 2202.04200, section 3.1) as open-muse and UnlockMGM publish it.

Parameter names are those of the published checkpoints, folders with a config.json or a bare file whose sizes
are read from the tensors. Images and what it decodes to lie in 0..1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError
from ..registry import CODECS
from .base import Codec, Part, Shapes, count
from .maps import activated
from .upsampling import double_and_convolve

SIZES = ("num_channels", "hidden_channels", "num_res_blocks", "z_channels", "num_embeddings", "quantized_embed_dim")


@dataclass(frozen=True)
class VQGANConfig:
    """widths: channels of each level, full resolution first. stem: those of the encoder's first convolution."""

    widths: tuple[int, ...]
    stem: int
    num_res_blocks: int
    z_channels: int
    num_embeddings: int

    @classmethod
    def from_dict(cls, values: dict) -> "VQGANConfig":
        """From config.json. Raises MGTError naming missing and contradicting entries."""
        missing = [name for name in ("channel_mult", *SIZES) if name not in values]
        if missing:
            raise MGTError(f"codec config lacks {', '.join(missing)}")
        mult = values["channel_mult"]
        if not isinstance(mult, (list, tuple)) or not mult:
            raise MGTError(f"codec config has channel_mult {mult!r}; expected a list of whole numbers")
        for name, value in [("channel_mult", m) for m in mult] + [(name, values[name]) for name in SIZES]:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise MGTError(f"codec config has {name} {value!r}; expected positive whole numbers")
        if values["num_channels"] != 3 or values["quantized_embed_dim"] != values["z_channels"]:
            raise MGTError(
                f"codec config has num_channels {values['num_channels']}, quantized_embed_dim "
                f"{values['quantized_embed_dim']} and z_channels {values['z_channels']}; expected 3 and two equal ones"
            )
        stem = values["hidden_channels"]
        sizes = (values[name] for name in ("num_res_blocks", "z_channels", "num_embeddings"))
        return cls(tuple(stem * m for m in mult), stem, *sizes)

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> "VQGANConfig":
        levels = count(shapes, "decoder.up.{}.block.0.conv1.weight")
        return cls(
            widths=tuple(shapes[f"decoder.up.{level}.block.0.conv1.weight"][0] for level in range(levels)),
            stem=shapes["encoder.conv_in.weight"][0],
            num_res_blocks=count(shapes, "decoder.up.0.block.{}.conv1.weight"),
            z_channels=shapes["quantize.embedding.weight"][1],
            num_embeddings=shapes["quantize.embedding.weight"][0],
        )


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = norm(width_in), norm(width)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Conv2d(width, width, 1, bias=False) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(activated(self.conv1(activated(x, self.norm1)), self.norm2, overwrite=True))
        # The published weights were trained with a shortcut that reads h where the width changes.
        return h.add_(x if self.nin_shortcut is None else self.nin_shortcut(h))


def res_blocks(width_in: int, width: int, count: int) -> list[ResBlock]:
    return [ResBlock(width if index else width_in, width) for index in range(count)]


class Level(nn.Module):
    def __init__(self, width_in: int, width: int, count: int, doubles: bool = False):
        super().__init__()
        self.block = nn.ModuleList(res_blocks(width_in, width, count))
        self.upsample_conv = nn.Conv2d(width, width, 3, padding=1) if doubles else None

    def layers(self) -> Iterator[Part]:
        """One by one, so that no map is held while those after it are made."""
        yield from self.block
        if self.upsample_conv is not None:
            yield lambda x: double_and_convolve(x, self.upsample_conv)


class Encoder(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        widths, count = config.widths, config.num_res_blocks
        self.conv_in = nn.Conv2d(3, config.stem, 3, padding=1, bias=False)
        before = [config.stem, *widths]
        self.down = nn.ModuleList(Level(w_in, w, count) for w_in, w in zip(before, widths, strict=False))
        self.mid = nn.Sequential(*res_blocks(widths[-1], widths[-1], count))
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for index, level in enumerate(self.down):
            x = F.avg_pool2d(x, 2) if index else x
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(activated(self.mid(x), self.norm_out, overwrite=True))


class Decoder(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        widths, count = config.widths, config.num_res_blocks
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = nn.Sequential(*res_blocks(widths[-1], widths[-1], count))
        before = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            Level(w_in, w, count, doubles=index > 0) for index, (w_in, w) in enumerate(zip(before, widths, strict=True))
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(activated(x, self.norm_out, overwrite=True))


class MaskGitVQGAN(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.num_embeddings, config.z_channels)})


@CODECS.register("maskgit_vqgan")
class MaskGitVQGANCodec(Codec):
    """MaskGitVQGAN folders (config.json with pytorch_model.bin or safetensors), and such a file alone."""

    needs_config = False

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return "decoder.up.0.block.0.conv1.weight" in shapes and "quantize.embedding.weight" in shapes

    @staticmethod
    def build(config: dict, shapes: Shapes) -> nn.Module:
        return MaskGitVQGAN(VQGANConfig.from_dict(config) if config else VQGANConfig.from_shapes(shapes))

    @property
    def widths(self) -> tuple[int, ...]:
        return self.network.config.widths

    def _decode(self, codes: Tensor) -> Tensor:
        return self.network.decoder(codes)

    def _latents(self, image: Tensor) -> Tensor:
        return self.network.encoder(image)
