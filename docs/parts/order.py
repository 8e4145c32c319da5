"""mgt_core/samplers/columns.py: an order of cells, which the Halton Sampler's node lists by itself."""

import torch
from torch import Tensor

from .orders import ORDERS


@ORDERS.register("columns")
def columns(grid: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Column by column from the top left."""
    return torch.arange(grid[0] * grid[1]).unflatten(0, grid).T.flatten()
