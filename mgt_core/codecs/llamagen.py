"""LlamaGen's VQ tokenizer (arXiv 2406.06525, section 3.1), the codec of Halton-MaskGIT.

Published as a pickle without a config: every size is read from the tensors. Parameter names are those of the
checkpoint. Codebook rows and latents have unit length; inside, images lie in -1..1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import CODECS
from .base import Codec, Part, Shapes, count
from .maps import activated
from .upsampling import double_and_convolve

RESAMPLERS = ("downsample", "upsample")


@dataclass(frozen=True)
class LlamaGenConfig:
    """encoder_widths, decoder_widths: channels of each level, full resolution first."""

    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    conv_in: int
    num_res_blocks: int
    z_channels: int
    embed_dim: int
    num_embeddings: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> "LlamaGenConfig":
        encoder, decoder = (widths_of(shapes, part) for part in ("encoder", "decoder"))
        return cls(
            encoder_widths=encoder,
            decoder_widths=decoder[::-1],
            conv_in=shapes["encoder.conv_in.weight"][0],
            num_res_blocks=count(shapes, "encoder.conv_blocks.0.res.{}.conv1.weight"),
            z_channels=shapes["quant_conv.weight"][1],
            embed_dim=shapes["quant_conv.weight"][0],
            num_embeddings=shapes["quantize.embedding.weight"][0],
        )


def widths_of(shapes: Shapes, part: str) -> tuple[int, ...]:
    levels = count(shapes, part + ".conv_blocks.{}.res.0.conv1.weight")
    return tuple(shapes[f"{part}.conv_blocks.{level}.res.0.conv1.weight"][0] for level in range(levels))


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = norm(width_in), norm(width)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(activated(self.conv1(activated(x, self.norm1)), self.norm2, overwrite=True))
        return h.add_(self.nin_shortcut(x))


class Attention(nn.Module):
    """One head over all cells."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(h)


class Resample(nn.Module):
    """Halves or doubles both sides, with a convolution."""

    def __init__(self, width: int, doubles: bool):
        super().__init__()
        self.doubles = doubles
        self.conv = nn.Conv2d(width, width, 3, padding=1) if doubles else nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return double_and_convolve(x, self.conv) if self.doubles else self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    def __init__(self, width_in: int, width: int, blocks: int, attends: bool):
        super().__init__()
        self.res = nn.ModuleList(ResBlock(width if index else width_in, width) for index in range(blocks))
        self.attn = nn.ModuleList(Attention(width) for _ in range(blocks if attends else 0))

    def layers(self) -> Iterator[Part]:
        """One by one, so that no map is held while those after it are made."""
        for index, block in enumerate(self.res):
            yield block
            if self.attn:
                yield self.attn[index]
        yield from (layer for name, layer in self.named_children() if name in RESAMPLERS)


def middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResBlock(width, width), Attention(width), ResBlock(width, width))


class Encoder(nn.Module):
    def __init__(self, config: LlamaGenConfig):
        super().__init__()
        widths, last = config.encoder_widths, len(config.encoder_widths) - 1
        self.conv_in = nn.Conv2d(3, config.conv_in, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        for index, (width_in, width) in enumerate(zip((config.conv_in, *widths), widths, strict=False)):
            level = Level(width_in, width, config.num_res_blocks, attends=index == last)
            if index != last:
                level.downsample = Resample(width, doubles=False)
            self.conv_blocks.append(level)
        self.mid = middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.conv_blocks:
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(activated(self.mid(x), self.norm_out, overwrite=True))


class Decoder(nn.Module):
    """Its conv_blocks run from the lowest resolution to the full one."""

    def __init__(self, config: LlamaGenConfig):
        super().__init__()
        widths = config.decoder_widths[::-1]
        self.conv_in = nn.Conv2d(config.z_channels, widths[0], 3, padding=1)
        self.mid = middle(widths[0])
        self.conv_blocks = nn.ModuleList()
        for index, (width_in, width) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            level = Level(width_in, width, config.num_res_blocks + 1, attends=index == 0)
            if index != len(widths) - 1:
                level.upsample = Resample(width, doubles=True)
            self.conv_blocks.append(level)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in self.conv_blocks:
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(activated(x, self.norm_out, overwrite=True))


class LlamaGenVQ(nn.Module):
    def __init__(self, config: LlamaGenConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(config.num_embeddings, config.embed_dim)})


@CODECS.register("llamagen")
class LlamaGenCodec(Codec):
    """vq_ds16_c2i.pt and files of its form."""

    needs_config = False

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return "decoder.conv_blocks.0.res.0.conv1.weight" in shapes and "quantize.embedding.weight" in shapes

    @staticmethod
    def leaves(name: str) -> bool:
        return name == "quantize.codebook_used"  # a tally of training

    @staticmethod
    def build(config: dict, shapes: Shapes) -> nn.Module:
        return LlamaGenVQ(LlamaGenConfig.from_shapes(shapes))

    @property
    def widths(self) -> tuple[int, ...]:
        return self.network.config.decoder_widths

    def _vectors(self, tokens: Tensor) -> Tensor:
        return F.normalize(super()._vectors(tokens), dim=-1)

    def _decode(self, codes: Tensor) -> Tensor:
        return (self.network.decoder(self.network.post_quant_conv(codes)) + 1) / 2

    def _latents(self, image: Tensor) -> Tensor:
        return F.normalize(self.network.quant_conv(self.network.encoder(image * 2 - 1)), dim=1)
