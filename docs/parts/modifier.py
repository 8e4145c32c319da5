"""mgt_core/modifiers/sharpen.py: a logits modifier, which acts between the network and the draw."""

from dataclasses import dataclass

from torch import Tensor

from ..registry import MODIFIERS
from ..settings import number
from ..types import Step
from .base import ActiveModifier, Modifier


@MODIFIERS.register("sharpen")
@dataclass(frozen=True)
class Sharpen(Modifier):
    """Logits times `factor`: above 1 likelier tokens are drawn more often."""

    neutral = {"factor": 1.0}  # changes nothing: the identity tests hold it to that

    factor: float = number(1.5, 0.1, 10, "sharpen factor")  # the range is checked, and is the widget's

    @property
    def by_rows(self) -> bool:
        return True  # every row by itself, so that the whole table need never exist

    def begin(self) -> ActiveModifier:
        def apply(logits: Tensor, step: Step) -> Tensor:  # [B, M, V] of the cells step.positions [B, M]
            return logits * self.factor if self.acts(step) else logits

        return apply
