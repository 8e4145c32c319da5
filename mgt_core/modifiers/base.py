"""Logits modifiers: small functions between the network and the draw, composed in the order attached."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from ..types import Step

ActiveModifier = Callable[[Tensor, Step], Tensor]


class Modifier(ABC):
    """Settings of a modifier, a frozen dataclass. What it remembers lives in what `begin` returns."""

    @property
    def all_positions(self) -> bool:
        """Whether it needs the logits of every cell instead of those still masked."""
        return False

    @abstractmethod
    def begin(self) -> ActiveModifier:
        """A fresh modifier for one run: (logits [B, M, V] float32, step) -> logits of the same shape."""
