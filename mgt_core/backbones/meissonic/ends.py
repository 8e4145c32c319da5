"""What stands before and after the blocks of Meissonic and aMUSEd: embeddings, halving and doubling of the grid, the
token head.

Parameter names are those of the published checkpoints.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.wide_product import wide_linear
from ...kernels.widened import widened
from ...pulse import beat

TIME_DIM = 256
EPS = 1e-6


def frequencies(count: int, device: torch.device) -> Tensor:
    """[count] float32, from 1 down towards 1/10000. In float32 as published, so that a machine whose exponential is
    off in the last digit gives what the published code gives on that machine."""
    return torch.exp(-math.log(10000.0) * torch.arange(count, device=device, dtype=torch.float32) / count)


def time_frequencies(device: torch.device) -> Tensor:
    """Those of the timestep's sinusoid, which are the same at every step."""
    return frequencies(TIME_DIM // 2, device)


def sinusoid(values: Tensor, dim: int, known: Tensor | None = None) -> Tensor:
    """[...] -> [..., dim] float32: cosines then sines of the values at frequencies 1 ... 1/10000, or at those `known`
    [dim / 2]."""
    angles = values.float()[..., None] * (frequencies(dim // 2, values.device) if known is None else known)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # training may come to use what sampling made
def rotary_tables(text_length: int, grid: tuple[int, int], axes: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """cos and sin [text_length + h*w, sum(axes) / 2] float32 for positions (0, y, x); text sits at (0, 0, 0).

    On the CPU, and kept there: not to be written to."""
    h, w = grid
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    image = torch.stack([torch.zeros_like(y), y, x], dim=-1).reshape(-1, 3)
    ids = torch.cat([torch.zeros(text_length, 3, dtype=torch.long), image]).double()
    angles = torch.cat(
        [
            ids[:, i, None] / 10000.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
            for i, dim in enumerate(axes)
        ],
        dim=-1,
    )
    return angles.cos().float(), angles.sin().float()


class TwoLayer(nn.Module):
    """linear -> SiLU -> linear, the embedder of timestep, pooled text and micro-conditions."""

    def __init__(self, dim_in: int, dim: int, bias: bool = True):
        super().__init__()
        self.linear_1 = nn.Linear(dim_in, dim, bias=bias)
        self.linear_2 = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeTextEmbed(nn.Module):
    def __init__(self, dim: int, pooled_dim: int):
        super().__init__()
        self.timestep_embedder = TwoLayer(TIME_DIM, dim)
        self.text_embedder = TwoLayer(pooled_dim, dim)


class TokenEmbed(nn.Module):
    """dim: of the embeddings; out: of what they are projected to, the same where nothing is said."""

    def __init__(self, vocab_size: int, dim: int, out: int | None = None, eps: float = EPS):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, dim)
        self.layer_norm = nn.RMSNorm(dim, eps)
        self.conv = nn.Conv2d(dim, out or dim, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, h, w] -> [B, h, w, C]."""
        x = self.layer_norm(self.embeddings(tokens))
        beat()
        return F.linear(x, self.conv.weight.flatten(1))


class Halve(nn.Module):
    """Channel norm, then a 2x2 convolution of stride 2. [B, h, w, C] -> [B, h / 2, w / 2, C].

    Here and in the other convolutions the weights are stored as the checkpoints have them and applied as
    matrix products, which stay float32 on GPUs where convolutions may not.
    """

    def __init__(self, dim: int, eps: float = EPS):
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps)
        self.conv = nn.Conv2d(dim, dim, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = self.norm(x).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, h/2, 2, w/2, 2, C]
        beat()
        return F.linear(squares.permute(0, 1, 3, 5, 2, 4).flatten(3), self.conv.weight.flatten(1))


class Double(nn.Module):
    """Channel norm, then a transposed 2x2 convolution of stride 2. [B, h, w, C] -> [B, 2h, 2w, C]."""

    def __init__(self, dim: int, eps: float = EPS):
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps)
        self.conv = nn.ConvTranspose2d(dim, dim, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = F.linear(self.norm(x), self.conv.weight.flatten(1).T).unflatten(3, (-1, 2, 2))
        beat()
        return squares.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)


class TokenHead(nn.Module):
    """Features to logits. Stored as 1x1 convolutions, applied cell by cell to any subset of cells. inner: width between
    the two, that of the features where nothing is said."""

    def __init__(self, dim: int, codebook_size: int, inner: int | None = None, eps: float = EPS):
        super().__init__()
        inner = inner or dim
        self.conv1 = nn.Conv2d(dim, inner, 1, bias=False)
        self.layer_norm = nn.RMSNorm(inner, eps)
        self.conv2 = nn.Conv2d(inner, codebook_size, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[..., C] -> [..., V], in the type of the features."""
        hidden = widened(self.layer_norm, wide_linear(features, self.conv1.weight))
        return wide_linear(hidden, self.conv2.weight)
