"""What a codec's maps [B, C, H, W] go through between two convolutions: group normalization and SiLU.

A decode is bound by memory there, so maps that are not needed again are overwritten, and their layout stays that of
the convolutions: torch's group normalization on a GPU gives maps back with the channels first, whatever it is given.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pulse import beat

KEEPS_LAYOUT = {"cpu"}  # devices whose group normalization does


def layout_of(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@dataclass(frozen=True)
class Moments:
    """Mean and variance [B, C] of every channel over `count` cells."""

    mean: Tensor
    variance: Tensor
    count: int

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Of [B, C, H, W], in float32."""
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0)
        return cls(mean, variance, x.shape[2] * x.shape[3])

    def joined(self, other: "Moments") -> "Moments":
        """Those of both sets of cells (Chan, Golub, LeVeque 1979): no difference of large sums, so float32 will do."""
        count = self.count + other.count
        share, apart = other.count / count, other.mean - self.mean
        variance = torch.lerp(self.variance, other.variance, share) + apart.square() * (share * (1 - share))
        return Moments(torch.lerp(self.mean, other.mean, share), variance, count)

    def normalizing(self, norm: nn.GroupNorm) -> tuple[Tensor, ...]:
        """Scale and shift [B, C, 1, 1] that are the normalization of a map with these moments."""
        mean, variance, weight, bias = (
            v.unflatten(-1, (norm.num_groups, -1)) for v in (self.mean, self.variance, norm.weight, norm.bias)
        )
        between, centre = torch.var_mean(mean, -1, correction=0, keepdim=True)
        spread = variance.mean(-1, keepdim=True).add_(between)
        scale = weight * spread.add_(norm.eps).rsqrt_()
        shift = torch.addcmul(bias.float(), centre, scale, value=-1)
        return tuple(v.flatten(1)[..., None, None] for v in (scale, shift))


def changed(x: Tensor, scale: Tensor, shift: Tensor, overwrite: bool = False) -> Tensor:
    """SiLU(x * scale + shift)."""
    scale, shift = scale.to(x.dtype), shift.to(x.dtype)
    x = torch.addcmul(shift, x, scale, out=x) if overwrite else torch.addcmul(shift, x, scale)
    return F.silu(x, inplace=True)


def activated(x: Tensor, norm: nn.GroupNorm, overwrite: bool = False) -> Tensor:
    """SiLU of the normalized map, in the layout of `x`. overwrite: `x` itself may be used for it."""
    beat()  # every whole decode and encode comes here before a convolution
    if x.device.type in KEEPS_LAYOUT or x.dtype != torch.float32 or layout_of(x) == torch.contiguous_format:
        return F.silu(norm(x), inplace=True)
    return changed(x, *Moments.of(x).normalizing(norm), overwrite)
