"""Min-p: only codes that are likely beside the likeliest one of their cell can be drawn."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..registry import MODIFIERS
from ..settings import share
from .base import RowModifier


@MODIFIERS.register("min_p")
@dataclass(frozen=True)
class MinP(RowModifier):
    """Codes less probable than `p` times the likeliest one of their cell can no longer be drawn (arXiv 2407.01082,
    section 3). Unlike top-p it cuts little where the model is unsure, and much where it is sure. 0 changes nothing,
    1 leaves the likeliest code alone.
    """

    neutral = {"p": 0.0}

    p: float = share(0.1, "min-p")

    def rows(self, logits: Tensor) -> Tensor:
        if self.p == 0:
            return logits
        least = logits.amax(-1, keepdim=True) + math.log(self.p)
        return logits.masked_fill(logits < least, -math.inf)
