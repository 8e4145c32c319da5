"""Convolutional codecs layer by layer in strips: the numbers of the whole at a fraction of the memory.

Parts that are decoded one by one differ at their seams, and in colour, because group normalization looks at the
whole picture. Here every layer is finished before the next begins: a strip of rows at a time is brought to the device
with the border that the convolution reads, and the statistics are those of all strips. There are no seams to blend,
and what is left is rounding. Maps of more than a strip lie in main memory, pinned for a GPU, which takes and gives
their strips in the order of its own work; the host waits once a layer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pulse import beat
from ..quantization.layers import PackedLayer, kernel_of
from .maps import Moments, changed
from .upsampling import double_and_convolve

ROWS = torch.channels_last  # of one picture, rows lie in one piece, as copies in the background need them
Change = Callable[[Tensor, bool], Tensor]
Span = tuple[int, int]


def spans(length: int, step: int) -> Iterator[Span]:
    for start in range(0, length, step):
        yield start, min(start + step, length)


@dataclass(frozen=True)
class Map:
    """values [B, C, H, W], on the device or in main memory, and the moments of the strips it was made of."""

    values: Tensor
    moments: tuple[Moments, ...] = ()

    @classmethod
    def of(cls, values: Tensor) -> "Map":
        """One that was made whole, on the device."""
        return cls(values, (Moments.of(values),))

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.values.shape[2:])


@dataclass(frozen=True)
class Tiles:
    """Where tiles are computed, which are strips of whole rows, and how many cells of whatever map they are of one
    holds."""

    device: torch.device
    cells: int

    @property
    def background(self) -> bool:
        """Whether copies need not be waited for: only CUDA keeps them in the order of what uses them."""
        return self.device.type == "cuda"

    def rows(self, height: int, width: int) -> list[Span]:
        return list(spans(height, max(1, self.cells // width)))

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, stays: bool) -> Tensor:
        """A map to be filled, which `stays` on the device or lies in main memory."""
        if stays:
            return torch.empty(shape, dtype=dtype, device=self.device, memory_format=ROWS)
        try:
            return torch.empty(shape, dtype=dtype, memory_format=ROWS, pin_memory=self.background)
        except RuntimeError:  # systems allow only a part of memory to be pinned; the rest is waited for
            return torch.empty(shape, dtype=dtype, memory_format=ROWS)

    def brought(self, x: Tensor, start: int, end: int) -> Tensor:
        """Rows of [B, C, H, W]."""
        return x[:, :, start:end].to(self.device, non_blocking=self.background)

    def made(self, x: Tensor, moments: list[Moments]) -> Map:
        """A filled map. One in main memory is waited for: pinned memory that a GPU may still read is not given out
        anew, and a host that runs ahead would take more for every layer."""
        if self.background and x.device != self.device:
            torch.cuda.synchronize(self.device)
        return Map(x, tuple(moments))

    def activation(self, x: Map | Tensor, norm: nn.GroupNorm) -> Change:
        """Group normalization with the statistics of the whole map, then SiLU, of any strip of it."""
        moments = x.moments if isinstance(x, Map) else Map.of(x).moments
        scale, shift = reduce(Moments.joined, moments).normalizing(norm)
        return lambda part, overwrite: changed(part, scale, shift, overwrite)

    def convolve(
        self,
        x: Map,
        layer: nn.Conv2d,
        before: Change | None = None,
        plus: Map | None = None,
        through: nn.Module | None = None,
        last: bool = False,
    ) -> Map:
        """The layer over `before`(x). plus: a map that is added to the result; it is overwritten, unless it goes
        `through` a layer of 1 x 1 first. last: the result stays on the device, and nothing normalizes it."""
        step, weight = layer.stride[0], kernel_of(layer, x.values.dtype)
        # Zeros that are on both sides the convolution adds by itself; others it is given.
        sides = layer.padding[1]
        height, width = (side // step for side in x.size)
        spare = (width - 1) * step + layer.kernel_size[1] - sides - x.size[1]
        strips = self.rows(height, width * step**2)
        shape = len(x.values), layer.out_channels, height, width
        reuse = plus is not None and through is None
        out = plus.values if reuse else self.empty(shape, x.values.dtype, last or len(strips) == 1)
        moments = []
        for top, bottom in strips:
            beat()
            start, end = top * step - layer.padding[0], (bottom - 1) * step - layer.padding[0] + layer.kernel_size[0]
            missing = max(-start, 0), max(end - x.size[0], 0)
            part = self.brought(x.values, start + missing[0], end - missing[1])
            if before:
                part = before(part, part.device != x.values.device)
            both = min(missing)
            if missing[0] != missing[1] or spare != sides:
                part = F.pad(part, (0, spare - sides, missing[0] - both, missing[1] - both))
            part = F.conv2d(part, weight, layer.bias, layer.stride, (both, sides))
            if plus is not None:
                base = self.brought(plus.values, top, bottom)
                part += base if through is None else through(base)
            if not last:
                moments.append(Moments.of(part))
            out[:, :, top:bottom].copy_(part, non_blocking=self.background)
        return self.made(out, moments)

    def double(self, x: Map, layer: nn.Module) -> Map:
        """The layer, 3 x 3, over x enlarged twice (nearest)."""
        height, width = x.size
        strips = self.rows(height, 4 * width)
        shape = len(x.values), layer.out_channels, 2 * height, 2 * width
        out = self.empty(shape, x.values.dtype, len(strips) == 1)
        moments = []
        for top, bottom in strips:
            beat()
            missing = int(top == 0), int(bottom == height)
            part = self.brought(x.values, top - 1 + missing[0], bottom + 1 - missing[1])
            part = double_and_convolve(F.pad(part, (0, 0, *missing)) if any(missing) else part, layer, framed=True)
            moments.append(Moments.of(part))
            out[:, :, 2 * top : 2 * bottom].copy_(part, non_blocking=self.background)
        return self.made(out, moments)

    def resnet(self, x: Map, block: Any) -> Map:
        """A ResnetBlock2D of diffusers; x is overwritten."""
        h = self.convolve(x, block.conv1, self.activation(x, block.norm1))
        return self.convolve(h, block.conv2, self.activation(h, block.norm2), plus=x, through=block.conv_shortcut)


def resamplers(level: Any) -> Sequence[nn.Module]:
    """Of a level of diffusers' encoder or decoder: what halves or doubles the map at its end."""
    return getattr(level, "upsamplers", None) or getattr(level, "downsamplers", None) or ()


def is_plain(part: Any) -> bool:
    """Whether an encoder or decoder of diffusers' VQModel is made of the layers that are known here."""
    blocks = getattr(part, "up_blocks", None) or part.down_blocks
    resnets = [block for level in blocks for block in level.resnets]
    ends = [r for level in blocks for r in resamplers(level)]
    return (
        not any(getattr(level, "attentions", None) for level in blocks)
        and isinstance(part.conv_norm_out, nn.GroupNorm)
        and all(isinstance(norm, nn.GroupNorm) for r in resnets for norm in (r.norm1, r.norm2))
        and all(r.upsample is None and r.downsample is None and r.output_scale_factor == 1 for r in resnets)
        and all(isinstance(activation, nn.SiLU) for activation in (part.conv_act, *(r.nonlinearity for r in resnets)))
        and all(isinstance(r.conv, (nn.Conv2d, PackedLayer)) and r.norm is None for r in ends)
        and all(r.conv.kernel_size == (3, 3) for r in ends)
    )


def decode_tiled(decoder: Any, codes: Tensor, cells: int) -> Tensor:
    """A decoder of diffusers' VQModel: [B, D, h, w] -> [B, 3, H, W], on the device of the codes, in strips of so
    many cells.

    What works on the token grid, attention included, is done whole, where the picture is smallest.
    """
    tiles = Tiles(codes.device, cells)
    x = decoder.mid_block(decoder.conv_in(codes), None).contiguous(memory_format=ROWS)
    x = Map.of(x)
    for level in decoder.up_blocks:
        for block in level.resnets:
            x = tiles.resnet(x, block)
        for resampler in resamplers(level):
            x = tiles.double(x, resampler.conv)
    return tiles.convolve(x, decoder.conv_out, tiles.activation(x, decoder.conv_norm_out), last=True).values


def encode_tiled(encoder: Any, image: Tensor, cells: int) -> Tensor:
    """An encoder of diffusers' VQModel: [B, 3, H, W] -> [B, D, h, w] on the same device, in strips of so many cells."""
    tiles = Tiles(image.device, cells)
    x = tiles.convolve(Map(image.contiguous(memory_format=ROWS)), encoder.conv_in)
    for level in encoder.down_blocks:
        for block in level.resnets:
            x = tiles.resnet(x, block)
        for resampler in resamplers(level):
            x = tiles.convolve(x, resampler.conv)
    x = encoder.mid_block(tiles.brought(x.values, 0, x.size[0]))
    return encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(x)))
