"""mgt_core/modifiers/sharpen.py: a logits modifier, which acts between the network and the draw."""

from dataclasses import dataclass

from torch import Tensor

from ..registry import MODIFIERS
from ..settings import number
from .base import RowModifier


@MODIFIERS.register("sharpen")
@dataclass(frozen=True)
class Sharpen(RowModifier):  # every row by itself; Modifier, for one that remembers, draws, or sees all cells
    """Logits times `factor`: above 1 likelier tokens are drawn more often."""

    neutral = {"factor": 1.0}  # changes nothing: the identity tests hold it to that

    factor: float = number(1.5, 0.1, 10, "sharpen factor")  # the range is checked, and is the widget's

    def rows(self, logits: Tensor) -> Tensor:
        return logits * self.factor  # [B, M, V]
