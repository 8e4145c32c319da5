"""Top-k and top-p: only the likeliest codes of a cell can be drawn."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..registry import MODIFIERS
from ..settings import share, whole
from .base import RowModifier


@MODIFIERS.register("top_k_top_p")
@dataclass(frozen=True)
class TopKTopP(RowModifier):
    """Keeps the `k` likeliest codes (0: all), and of those the fewest that hold probability `p`
    (1: all; nucleus sampling, arXiv 1904.09751). The others can no longer be drawn."""

    neutral = {}

    k: int = whole(0, 0, 2**31, "top-k")
    p: float = share(1.0, "top-p")

    def rows(self, logits: Tensor) -> Tensor:
        if 0 < self.k < logits.shape[-1]:
            least = logits.topk(self.k, dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        if self.p < 1:
            ordered, order = logits.sort(dim=-1, descending=True)
            p = ordered.softmax(-1)
            # A code stays while those before it hold less than p; the first always stays.
            beyond = (p.cumsum(-1) - p >= self.p) & (ordered < ordered[..., :1])
            logits = logits.scatter(-1, order, ordered.masked_fill(beyond, -math.inf))
        return logits
