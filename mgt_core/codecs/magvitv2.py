"""MAGVIT-v2's picture tokenizer (arXiv 2310.05737, section 3.1) as Show-o publishes it and MMaDA uses it.

Its codebook is looked up nowhere (LFQ): a code's bits are the signs of its latent, the first channel the highest bit.
Published with a config of a class name alone: every size is read from the tensors. Parameter names are those of the
checkpoint; inside, images lie in -1..1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..placement import compute_dtype
from ..registry import CODECS
from .base import Codec, Part, Shapes, count
from .llamagen import Attention, Resample, ResBlock, norm
from .maps import activated, layout_of
from .tiled import ROWS, Map, Tiles

BLOCK = "{}.{}.{}.block.{{}}.conv1.weight"  # of a part, its stack of levels, and one of these
MOST_BITS = 24


@dataclass(frozen=True)
class Stack:
    """Of an encoder or a decoder. widths: channels of each level, full resolution first. blocks: as many in each."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]

    @classmethod
    def of(cls, shapes: Shapes, part: str, name: str) -> "Stack":
        levels = count(shapes, f"{part}.{name}.{{}}.block.0.conv1.weight")
        names = [BLOCK.format(part, name, level) for level in range(levels)]
        return cls(tuple(shapes[own.format(0)][0] for own in names), tuple(count(shapes, own) for own in names))


@dataclass(frozen=True)
class MAGVITConfig:
    """stem: channels of the encoder's first convolution. bits: of a code."""

    encoder: Stack
    decoder: Stack
    stem: int
    bits: int

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> "MAGVITConfig":
        """Raises MGTError for tensors that make no tokenizer."""
        encoder, decoder = Stack.of(shapes, "encoder", "down"), Stack.of(shapes, "decoder", "up")
        bits = shapes["encoder.quant_conv.weight"][0]
        if not encoder.widths or len(encoder.widths) != len(decoder.widths) or bits > MOST_BITS:
            raise MGTError(
                f"the codec has {len(encoder.widths)} levels in its encoder, {len(decoder.widths)} in its decoder and "
                f"codes of {bits} bits; expected as many levels in both and {MOST_BITS} bits at the most"
            )
        return cls(encoder, decoder, shapes["encoder.conv_in.weight"][0], bits)


class Level(nn.Module):
    """doubles: whether a resampler doubles or halves the map at its end; None for neither."""

    def __init__(self, width_in: int, width: int, blocks: int, doubles: bool | None):
        super().__init__()
        self.block = nn.ModuleList(ResBlock(width if index else width_in, width) for index in range(blocks))
        self.resampler = "" if doubles is None else "upsample" if doubles else "downsample"
        if self.resampler:
            self.add_module(self.resampler, Resample(width, doubles))

    def layers(self) -> Iterator[Part]:
        """One by one, so that no map is held while those after it are made."""
        yield from self.block
        if self.resampler:
            yield getattr(self, self.resampler)


class Middle(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResBlock(width, width), Attention(width), ResBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, config: MAGVITConfig):
        super().__init__()
        widths, last = config.encoder.widths, len(config.encoder.widths) - 1
        self.conv_in = nn.Conv2d(3, config.stem, 3, padding=1)
        self.down = nn.ModuleList(
            Level(before, width, blocks, None if index == last else False)
            for index, (before, width, blocks) in enumerate(
                zip((config.stem, *widths), widths, config.encoder.blocks, strict=False)
            )
        )
        self.mid = Middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 3, padding=1)
        self.quant_conv = nn.Conv2d(config.bits, config.bits, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            for layer in level.layers():
                x = layer(x)
        return self.ended(x)

    def ended(self, x: Tensor) -> Tensor:
        """What comes after the levels, on the grid of the tokens."""
        return self.quant_conv(self.conv_out(activated(self.mid(x), self.norm_out, overwrite=True)))

    def tiled(self, image: Tensor, cells: int) -> Tensor:
        """As `forward` of one picture, in strips (see tiled.py)."""
        tiles = Tiles(image.device, cells)
        x = tiles.convolve(Map(image.contiguous(memory_format=ROWS)), self.conv_in)
        for level in self.down:
            for block in level.block:
                x = in_strips(tiles, x, block)
            if level.resampler:
                x = tiles.convolve(x, level.downsample.conv)
        return self.ended(tiles.brought(x.values, 0, x.size[0]))


class Decoder(nn.Module):
    """Its levels run from the last to the first."""

    def __init__(self, config: MAGVITConfig):
        super().__init__()
        widths = config.decoder.widths
        self.post_quant_conv = nn.Conv2d(config.bits, config.bits, 1)
        self.conv_in = nn.Conv2d(config.bits, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(before, width, blocks, True if index else None)
            for index, (before, width, blocks) in enumerate(
                zip((*widths[1:], widths[-1]), widths, config.decoder.blocks, strict=True)
            )
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.begun(codes)
        for level in reversed(self.up):
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(activated(x, self.norm_out, overwrite=True))

    def begun(self, codes: Tensor) -> Tensor:
        """What comes before the levels, on the grid of the tokens."""
        x = self.mid(self.conv_in(self.post_quant_conv(codes)))
        return x.contiguous(memory_format=layout_of(codes))

    def tiled(self, codes: Tensor, cells: int) -> Tensor:
        """As `forward` of one picture, in strips (see tiled.py)."""
        tiles = Tiles(codes.device, cells)
        x = Map.of(self.begun(codes).contiguous(memory_format=ROWS))
        for level in reversed(self.up):
            for block in level.block:
                x = in_strips(tiles, x, block)
            if level.resampler:
                x = tiles.double(x, level.upsample.conv)
        return tiles.convolve(x, self.conv_out, tiles.activation(x, self.norm_out), last=True).values


def in_strips(tiles: Tiles, x: Map, block: ResBlock) -> Map:
    """A block over a map, which is overwritten."""
    h = tiles.convolve(x, block.conv1, tiles.activation(x, block.norm1))
    through = None if isinstance(block.nin_shortcut, nn.Identity) else block.nin_shortcut
    return tiles.convolve(h, block.conv2, tiles.activation(h, block.norm2), plus=x, through=through)


class MAGVITv2(nn.Module):
    def __init__(self, config: MAGVITConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


@CODECS.register("magvitv2")
class MAGVITv2Codec(Codec):
    """A folder or file of showlab/magvitv2, weights with or without a config."""

    needs_config = False

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return "decoder.up.0.block.0.conv1.weight" in shapes and "encoder.quant_conv.weight" in shapes

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return 2 ** shapes["encoder.quant_conv.weight"][0]

    @staticmethod
    def leaves(name: str) -> bool:
        return name.startswith("quantize.")  # tables of all codes and of the powers of 2

    @staticmethod
    def build(config: dict, shapes: Shapes) -> nn.Module:
        return MAGVITv2(MAGVITConfig.from_shapes(shapes))

    @property
    def widths(self) -> tuple[int, ...]:
        return self.network.config.decoder.widths

    def latents_bytes(self, pixels: int, cells: int | None = None) -> int:
        config = self.network.config
        return self._bytes(
            zip(config.encoder.widths, (config.stem, *config.encoder.widths), strict=False), pixels, cells
        )

    @property
    def bits(self) -> int:
        return self.network.config.bits

    @property
    def codebook_size(self) -> int:
        return 2**self.bits

    def _powers(self, device: torch.device) -> Tensor:
        """[bits] long, what each channel counts."""
        return 2 ** torch.arange(self.bits - 1, -1, -1, device=device)

    def _vectors(self, tokens: Tensor) -> Tensor:
        ones = (tokens[..., None] & self._powers(tokens.device)) > 0
        return torch.where(ones, 1.0, -1.0).to(compute_dtype(self.network))

    def _nearest(self, latents: Tensor) -> Tensor:
        return ((latents > 0).movedim(1, -1) * self._powers(latents.device)).sum(-1)

    def _decode(self, codes: Tensor) -> Tensor:
        return (self.network.decoder(codes) + 1) / 2

    def _latents(self, image: Tensor) -> Tensor:
        return self.network.encoder(image * 2 - 1)

    @property
    def takes_tiles(self) -> bool:
        return True

    def _decode_tiled(self, codes: Tensor, cells: int) -> Tensor:
        return (self.network.decoder.tiled(codes, cells) + 1) / 2

    def _latents_tiled(self, image: Tensor, cells: int) -> Tensor:
        return self.network.encoder.tiled(image * 2 - 1, cells)
