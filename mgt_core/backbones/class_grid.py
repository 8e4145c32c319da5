"""What networks share that draw classes on one square grid."""

import math
from abc import abstractmethod

from .base import Backbone


class ClassGridBackbone(Backbone):
    """Conditioned on a label; its positions fit the grid it was trained on and no other. The config says
    `codebook_size` and `num_classes`."""

    condition_fields = ("labels",)

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
