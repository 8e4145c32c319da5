"""Rotary positions as language models turn them: channel i together with channel i + D/2."""

from functools import lru_cache

import torch
from torch import Tensor

from ..merge import Tables


@lru_cache(maxsize=8)
def rotary_halves(positions: tuple[int, ...], dim: int, theta: float) -> Tables:
    """[S, dim] float32, cosines of all angles and then their sines: position * theta^(-2i / dim)."""
    rates = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    angles = torch.tensor(positions, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def turned(x: Tensor, tables: Tables) -> Tensor:
    """[B, heads, S, D] with its first channels turned, as many as a row of `tables` [S, d] or [B, S, d] has; in
    float32 within."""
    width = tables.shape[-1]
    cos, sin = (tables if tables.ndim == 2 else tables[:, None]).chunk(2, dim=-1)
    first, second = x[..., :width].float().chunk(2, dim=-1)
    out = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
    return out if width == x.shape[-1] else torch.cat([out, x[..., width:]], dim=-1)
