"""The codec's encoder: each 8 x 8 patch is projected on its principal components, nothing else is looked at.

Tokens then depend on their own patch alone: the inside of an object has the same codes on every background and in
every place. With a learned encoder (whose group norms see the whole picture) only 30 % of them agreed between
backgrounds, which is what the transformer had to learn by heart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PATCH = 8
ANCHOR = 300.0  # next to it the signal is too small to move a group norm's scale


@dataclass(frozen=True)
class Projection:
    """`axes` [192, D] and `mean` [192] of patches laid out as row, column, colour.

    `inner` [48, 32], orthonormal, is what a 4 x 4 quarter is reduced to on the way; `axes` lie in its span.
    """

    axes: Tensor
    mean: Tensor
    inner: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 -> [B, H / 8, W / 8, D]"""
        return (patches(images) - self.mean) @ self.axes


def patches(images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, H / 8, W / 8, 192]"""
    batch, _, height, width = images.shape
    grid = images.reshape(batch, 3, height // PATCH, PATCH, width // PATCH, PATCH)
    return grid.permute(0, 2, 4, 3, 5, 1).flatten(3)


def quarters(patch: Tensor) -> Tensor:
    """[192, D] -> [2, 2, 48, D]"""
    return patch.view(2, 4, 2, 4, 3, -1).permute(0, 2, 1, 3, 4, 5).flatten(2, 4)


def principal_axes(samples: Tensor, width: int, inner_width: int) -> Projection:
    """`samples` [N, 192] -> the `width` directions of largest variance, scaled to about unit length of the result."""
    mean = samples.mean(0)
    centred = samples - mean
    covariance = centred.T @ centred / len(samples)
    blocks = quarters(quarters(covariance).permute(3, 0, 1, 2).flatten(1)).unflatten(3, (2, 2, 48))
    inner = torch.linalg.eigh(sum(blocks[y, x, :, y, x] for y in (0, 1) for x in (0, 1)))[1].flip(1)[:, :inner_width]
    values, vectors = torch.linalg.eigh(covariance)
    axes = vectors.flip(1)[:, :width] * (values.sum().rsqrt() * math.sqrt(width))
    kept = (inner @ inner.T) @ quarters(axes)
    axes = kept.unflatten(2, (4, 4, 3)).permute(0, 2, 1, 3, 4, 5).flatten(0, 4)
    return Projection(axes, mean, inner)


def k_means(samples: Tensor, codes: int, rounds: int, generator: torch.Generator) -> Tensor:
    """[N, D] -> centres [codes, D]; empty cells restart at random samples."""
    pick = lambda count: samples[torch.randint(len(samples), (count,), generator=generator)]  # noqa: E731
    centres = pick(codes)
    for _ in range(rounds):
        index = nearest(samples, centres)
        counts = torch.bincount(index, minlength=codes)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, index, samples)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), pick(codes))
    return centres


def nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    """[N, D] -> [N] long."""
    half = 0.5 * centres.square().sum(1)
    return torch.cat([(half - part @ centres.T).argmin(1) for part in vectors.split(16384)])


@torch.no_grad()
def write_encoder(codec: nn.Module, projection: Projection) -> None:
    """Set a three-times downsampling diffusers VQModel's encoder to `projection`, exactly but for rounding.

    Strided convolutions gather the patch, residual branches are zero. The last group norm and SiLU are passed by
    pairs: each number enters with both signs (silu(x) - silu(-x) = x, and the mean is 0), next to two large
    constants that fix the norm's scale.
    """
    encoder = codec.encoder
    for name, parameter in encoder.named_parameters():
        if "norm" not in name:
            parameter.zero_()
    encoder.conv_in.weight[:3, :, 1, 1] = torch.eye(3)
    blocks = encoder.down_blocks
    for block in blocks[:3]:  # conv_shortcut exists where the width changes
        shortcut = block.resnets[0].conv_shortcut
        if shortcut is not None:
            shortcut.weight[..., 0, 0] = torch.eye(*shortcut.weight.shape[:2])
    # Inputs of each are (row, column, colour) of the step before, taps are (row, column).
    twice = [blocks[level].downsamplers[0].conv for level in range(3)]
    inner_width, width = projection.inner.shape[1], projection.axes.shape[1]
    twice[0].weight[:12, :3, :2, :2] = torch.eye(12).view(12, 2, 2, 3).permute(0, 3, 1, 2)
    inner = projection.inner.view(2, 2, 2, 2, 3, inner_width).permute(5, 1, 3, 4, 0, 2)
    twice[1].weight[:inner_width, :12, :2, :2] = inner.flatten(1, 3)
    outer = projection.inner.T @ quarters(projection.axes)
    twice[2].weight[:width, :inner_width, :2, :2] = outer.permute(3, 2, 0, 1)
    twice[2].bias[:width] = -(projection.mean @ projection.axes)

    spread, norm, out = blocks[3].resnets[0].conv_shortcut, encoder.conv_norm_out, encoder.conv_out
    per_group = norm.num_channels // norm.num_groups
    scale = ANCHOR * math.sqrt(2 / per_group)
    held = width // norm.num_groups
    for group in range(norm.num_groups):
        start = group * per_group
        spread.bias[start], spread.bias[start + 1] = ANCHOR, -ANCHOR
        for k in range(held):
            plus, minus, dim = start + 2 + 2 * k, start + 3 + 2 * k, group * held + k
            spread.weight[plus, dim], spread.weight[minus, dim] = 1, -1
            out.weight[dim, plus, 1, 1], out.weight[dim, minus, 1, 1] = scale, -scale
    norm.weight.fill_(1)
    norm.bias.zero_()
    codec.quant_conv.weight[..., 0, 0] = torch.eye(width)
    codec.quant_conv.bias.zero_()


def read_encoder(codec: nn.Module) -> tuple[Tensor, Tensor]:
    """What `write_encoder` wrote, cheaper to apply than the convolutions: axes [192, D] and shift [D]."""
    width = codec.config.vq_embed_dim
    _, quarter, whole = (block.downsamplers[0].conv for block in codec.encoder.down_blocks[:3])
    inner = quarter.weight[:, :12, :2, :2].unflatten(1, (2, 2, 3)).permute(4, 1, 5, 2, 3, 0).flatten(0, 4)
    outer = inner @ whole.weight[:width, : quarter.weight.shape[0], :2, :2].permute(2, 3, 1, 0)
    return outer.unflatten(2, (4, 4, 3)).permute(0, 2, 1, 3, 4, 5).flatten(0, 4).detach(), whole.bias[:width].detach()
