"""What networks share that draw classes on one square grid."""

import math
from abc import abstractmethod
from types import MappingProxyType

import torch
from torch import Tensor

from .base import GRID, Backbone
from .hooks import RowCache


class ClassGridBackbone(Backbone):
    """Conditioned on a label; its positions fit the grid it was trained on and no other. The config says
    `codebook_size` and `num_classes`."""

    condition_fields = ("labels",)
    refusals = MappingProxyType(
        {
            "attention": "it is told a class, in which there are no words to look at",
            GRID: "it learned a place for every cell of that grid, and knows none beyond it",
        }
    )

    @property
    @abstractmethod
    def cells(self) -> int:
        """Of the grid, a square number."""

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    @property
    def trained_grid(self) -> tuple[int, int]:
        side = math.isqrt(self.cells)
        return side, side

    @property
    def only_trained_grid(self) -> bool:
        return True


def selected(cache: RowCache | None, states: Tensor, lead: int) -> tuple[Tensor, int, Tensor | None]:
    """Of rows [B, S, C], of which `lead` come before the image's: those that a token cache computes, how many of these
    come before the image's, and where they lie, [B, m]; None for all of them."""
    if cache is None:
        return states, lead, None
    image, before, _ = cache.select(states[:, lead:], states[:, :lead], None)
    rows = None if cache.rows is None else lead + cache.rows
    return torch.cat([before, image], dim=1), before.shape[1], rows
