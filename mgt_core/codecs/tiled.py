"""Convolutional codecs layer by layer in tiles: the numbers of the whole at a fraction of the memory.

Tiles that are decoded one by one differ at their seams, and in colour, because group normalization looks at the
whole picture. Here every layer is finished before the next begins: its maps lie outside the device, a tile
at a time is brought in with the border that the convolution reads, and the statistics are those of all
tiles. There are no seams to blend, and what is left is rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quantization.layers import PackedLayer, kernel_of

Change = Callable[[Tensor], Tensor]
Span = tuple[int, int]


def spans(length: int, side: int) -> Iterator[Span]:
    for start in range(0, length, side):
        yield start, min(start + side, length)


@dataclass(frozen=True)
class Tiles:
    """Where tiles are computed, and their side in cells of whatever map they are of. Maps lie on the CPU."""

    device: torch.device
    side: int

    def places(self, height: int, width: int) -> Iterator[tuple[Span, Span]]:
        for rows in spans(height, self.side):
            for columns in spans(width, self.side):
                yield rows, columns

    def activation(self, x: Tensor, norm: nn.GroupNorm) -> Change:
        """Group normalization with the statistics of the whole map [B, C, H, W], then SiLU, of any tile of it."""
        groups = (x.shape[0], norm.num_groups)
        total, squares = (torch.zeros(groups, dtype=torch.float64) for _ in range(2))
        for (top, bottom), (left, right) in self.places(*x.shape[2:]):
            part = x[:, :, top:bottom, left:right].to(self.device).unflatten(1, (norm.num_groups, -1)).flatten(2)
            total += part.sum(-1, dtype=torch.float64).cpu()
            squares += part.double().square_().sum(-1).cpu()
        count = x[0].numel() // norm.num_groups
        mean = total / count
        spread = (squares / count - mean.square()).clamp_min(0) + norm.eps
        per_channel = x.shape[1] // norm.num_groups
        mean, scale = (v.repeat_interleave(per_channel, 1).to(self.device) for v in (mean, spread.rsqrt()))
        scale = scale * norm.weight.double()
        shift = norm.bias.double() - mean * scale
        scale, shift = (v.to(x.dtype)[..., None, None] for v in (scale, shift))
        return lambda part: F.silu(torch.addcmul(shift, part, scale))

    def convolve(
        self,
        x: Tensor,
        layer: nn.Conv2d,
        before: Change | None = None,
        add_to: Tensor | None = None,
        doubled: bool = False,
    ) -> Tensor:
        """The layer over `before`(x). doubled: x is enlarged twice (nearest) first. add_to: a map that the
        result is added to in place and that is returned."""
        size = [side * (2 if doubled else 1) for side in x.shape[2:]]
        step, weight = layer.stride[0], kernel_of(layer, x.dtype)
        out = add_to
        if out is None:
            out = x.new_empty(x.shape[0], layer.out_channels, *(side // step for side in size))
        for rows, columns in self.places(*out.shape[2:]):
            part, padding = self.cut(x, rows, columns, size, layer, before, doubled)
            part = F.conv2d(F.pad(part, padding), weight, layer.bias, layer.stride)
            place = out[:, :, rows[0] : rows[1], columns[0] : columns[1]]
            if add_to is None:
                place.copy_(part)
            else:
                place.add_(part.to(place.device))
        return out

    def cut(
        self,
        x: Tensor,
        rows: Span,
        columns: Span,
        size: list[int],
        layer: nn.Conv2d,
        before: Change | None,
        doubled: bool,
    ) -> tuple[Tensor, tuple[int, int, int, int]]:
        """What the layer reads for a tile of its output, on the device, and the zeros missing around it."""
        inside, padding = [], []
        for (first, last), length, kernel, step, pad in zip(
            (rows, columns), size, layer.kernel_size, layer.stride, layer.padding, strict=True
        ):
            start, end = first * step - pad, (last - 1) * step - pad + kernel
            inside.append((max(start, 0), min(end, length)))
            padding = [max(-start, 0), max(end - length, 0), *padding]
        (top, bottom), (left, right) = inside
        if not doubled:
            part = x[:, :, top:bottom, left:right].to(self.device)
            return (before(part) if before else part), tuple(padding)
        part = x[:, :, top // 2 : (bottom + 1) // 2, left // 2 : (right + 1) // 2].to(self.device)
        part = F.interpolate(part, scale_factor=2.0)
        return part[:, :, top % 2 : top % 2 + bottom - top, left % 2 : left % 2 + right - left], tuple(padding)

    def resnet(self, x: Tensor, block: Any) -> Tensor:
        """A ResnetBlock2D of diffusers; x is overwritten."""
        h = self.convolve(x, block.conv1, self.activation(x, block.norm1))
        base = x if block.conv_shortcut is None else self.convolve(x, block.conv_shortcut)
        return self.convolve(h, block.conv2, self.activation(h, block.norm2), add_to=base)


def can_be_tiled(part: Any) -> bool:
    """Whether an encoder or decoder of diffusers' VQModel is made of the layers that are known here."""
    blocks = getattr(part, "up_blocks", None) or part.down_blocks
    resnets = [block for level in blocks for block in level.resnets]
    resamplers = [
        r for level in blocks for r in getattr(level, "upsamplers", None) or getattr(level, "downsamplers", None) or ()
    ]
    return (
        not any(getattr(level, "attentions", None) for level in blocks)
        and isinstance(part.conv_norm_out, nn.GroupNorm)
        and all(isinstance(norm, nn.GroupNorm) for r in resnets for norm in (r.norm1, r.norm2))
        and all(r.upsample is None and r.downsample is None and r.output_scale_factor == 1 for r in resnets)
        and all(isinstance(r.conv, (nn.Conv2d, PackedLayer)) and r.norm is None for r in resamplers)
    )


def decode_tiled(decoder: Any, codes: Tensor, side: int) -> Tensor:
    """A decoder of diffusers' VQModel: [B, D, h, w] -> [B, 3, H, W] on the CPU.

    What works on the token grid, attention included, is done whole, where the picture is smallest.
    """
    tiles = Tiles(codes.device, side)
    x = decoder.mid_block(decoder.conv_in(codes), None).cpu()
    for level in decoder.up_blocks:
        for block in level.resnets:
            x = tiles.resnet(x, block)
        for resampler in level.upsamplers or ():
            x = tiles.convolve(x, resampler.conv, doubled=True)
    return tiles.convolve(x, decoder.conv_out, tiles.activation(x, decoder.conv_norm_out))


def encode_tiled(encoder: Any, image: Tensor, device: torch.device, side: int) -> Tensor:
    """An encoder of diffusers' VQModel: [B, 3, H, W] on the CPU -> [B, D, h, w] on the device."""
    tiles = Tiles(device, side)
    x = tiles.convolve(image, encoder.conv_in)
    for level in encoder.down_blocks:
        for block in level.resnets:
            x = tiles.resnet(x, block)
        for resampler in level.downsamplers or ():
            x = tiles.convolve(x, resampler.conv)
    x = encoder.mid_block(x.to(device))
    return encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(x)))
