"""Nearest doubling and the 3 x 3 convolution after it, in one step at the low resolution.

After doubling, the convolution reads each pixel of the small map two or four times, once a tap. Taps that read
the same pixel can be added beforehand: each of the four pixels that one becomes is a 2 x 2 convolution of the small
map, which is 4/9 of the products and leaves the doubled map out. The result is the same but for rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pulse import beat
from ..quantization.layers import kernel_of
from .maps import layout_of


def can_be_folded(upsampler: nn.Module) -> bool:
    """Whether a module of diffusers does nothing but double and convolve."""
    layer = getattr(upsampler, "conv", None)
    plain = isinstance(layer, nn.Conv2d) and upsampler.norm is None and upsampler.interpolate
    return plain and layer.kernel_size == (3, 3) and layer.padding == (1, 1)


def reads(device: torch.device) -> Tensor:
    """Which of two neighbours each tap reads, [phase, neighbour, tap]: phase 0 is the first pixel of a doubled one.

    [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], made where it is used: a copy would be waited for."""
    phase, neighbour, tap = torch.meshgrid(*(torch.arange(n, device=device) for n in (2, 2, 3)), indexing="ij")
    return ((tap + 1 - phase) // 2 == neighbour).float()


def folded_kernel(kernel: Tensor) -> Tensor:
    """[N, C, 3, 3] -> [4 N, C, 2, 2], output channels in the order of (row phase, column phase, N)."""
    read = reads(kernel.device)
    return torch.einsum("ryk,sxl,nckl->rsncyx", read, read, kernel.float()).flatten(0, 2).to(kernel.dtype)


def double_and_convolve(x: Tensor, layer: nn.Module, framed: bool = False) -> Tensor:
    """`layer`(x doubled), [B, C, h, w] -> [B, N, 2 h, 2 w]; the layer is 3 x 3 with a border of 1, packed or not.

    framed: x is [B, C, h + 2, w] and has the rows above and below with it, as a strip of a larger map."""
    kernel = folded_kernel(kernel_of(layer, x.dtype))
    bias = None if layer.bias is None else layer.bias.repeat(2)
    (batch, _, height, width), channels = x.shape, layer.out_channels
    height -= 2 * framed
    out = torch.empty(
        (batch, channels, 2 * height, 2 * width), dtype=x.dtype, device=x.device, memory_format=layout_of(x)
    )
    for row, part in enumerate(kernel.chunk(2)):
        beat()
        # At the corners of the small map's cells; a row phase at a time, or it would hold as much as the result.
        between = F.conv2d(x, part, bias, padding=(1 - framed, 1)).unflatten(1, (2, -1))
        for column in (0, 1):
            out[:, :, row::2, column::2] = between[:, column, :, row : row + height, column : column + width]
        del between
    return out


class FoldedUpsample(nn.Module):
    """Takes the place of an upsampler with a convolution; parameter names stay.

    norm: that of diffusers' upsampler, always None here.
    """

    norm = None

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, output_size: object = None) -> Tensor:
        return double_and_convolve(x, self.conv)
