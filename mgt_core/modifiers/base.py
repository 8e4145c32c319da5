"""Logits modifiers: small functions between the network and the draw, composed in the order attached."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..interval import in_interval
from ..settings import Settings, share
from ..types import Step

ActiveModifier = Callable[[Tensor, Step], Tensor]


@dataclass(frozen=True)
class Modifier(Settings, ABC):
    """Settings of a modifier. What it remembers during a run lives in what `begin` returns.

    start, end: share of the run in which it acts; step k of T acts when start <= k / T < end
    (start 0 and end 1: every step; start == end: none).
    """

    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    def __init_subclass__(cls):
        cls.interval_of = cls.__name__

    @property
    def all_positions(self) -> bool:
        """Whether it needs the logits of every cell instead of those still masked."""
        return False

    @property
    def by_rows(self) -> bool:
        """Whether each row of logits changes by itself: it may then be handed a step's rows a part at a time,
        and the whole table need never exist. Not for one that remembers or draws."""
        return False

    def acts(self, step: Step) -> bool:
        return in_interval(self.start, self.end, step.index, step.total)

    @abstractmethod
    def begin(self) -> ActiveModifier:
        """A fresh modifier for one run: (logits [B, M, V] float32, step) -> logits of the same shape."""


@dataclass(frozen=True)
class RowModifier(Modifier):
    """A modifier that looks at each row of logits by itself, and neither remembers nor draws anything."""

    @property
    def by_rows(self) -> bool:
        return True

    @abstractmethod
    def rows(self, logits: Tensor) -> Tensor:
        """[B, M, V] float32 -> the same shape."""

    def begin(self) -> ActiveModifier:
        return lambda logits, step: self.rows(logits) if self.acts(step) else logits
