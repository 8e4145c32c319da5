"""Orders in which the cells of a grid can be revealed, whatever the model thinks of them."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..registry import Registry

Order = Callable[[tuple[int, int], torch.Generator], Tensor]

# (height, width) and the image's generator -> every cell once, row-major indices [N] long on the CPU.
ORDERS: Registry[Order] = Registry("order")


def radical_inverse(numbers: np.ndarray, base: int) -> tuple[np.ndarray, int]:
    """Digits of each number mirrored at the point, as an exact fraction: numerators and their denominator."""
    mirrored, denominator, rest = np.zeros_like(numbers), 1, numbers
    while rest.any():
        mirrored, rest, denominator = mirrored * base + rest % base, rest // base, denominator * base
    return mirrored, denominator


@ORDERS.register("halton")
def halton(grid: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Cells in the order in which the points of the 2-D Halton sequence (bases 2 and 3, from the first on) fall
    into them, repeats dropped: each new cell lies far from those before it. arXiv 2503.17076, section 3."""
    return _halton(*grid).clone()


@lru_cache(maxsize=16)
def _halton(height: int, width: int) -> Tensor:
    count = 16 * height * width
    while True:
        numbers = np.arange(1, count + 1)
        (down, rows), (right, columns) = radical_inverse(numbers, 2), radical_inverse(numbers, 3)
        cells, first = np.unique(down * height // rows * width + right * width // columns, return_index=True)
        if len(cells) == height * width:
            return torch.from_numpy(cells[first.argsort()])
        count *= 2  # points that were drawn do not cover the grid yet


@ORDERS.register("random")
def random(grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Any order, each as likely."""
    return torch.randperm(grid[0] * grid[1], generator=generator)


@ORDERS.register("raster")
def raster(grid: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Row by row from the top left, as autoregressive models write."""
    return torch.arange(grid[0] * grid[1])
