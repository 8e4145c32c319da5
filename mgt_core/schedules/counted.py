"""Families whose formula holds the number of tokens."""

import math
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import whole_number
from ..registry import SCHEDULES
from ..settings import hold
from .base import MaskSchedule

DEFAULT_TOKENS = 4096  # a 1024 x 1024 image


@dataclass(frozen=True)
class CountedSchedule(MaskSchedule):
    """A family whose formula holds the number of tokens N; a run fills it in when it is None."""

    tokens: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.tokens is not None:
            hold(self, tokens=whole_number("schedule tokens", self.tokens, 2, 2**31))

    def for_tokens(self, total: int) -> MaskSchedule:
        return self if self.tokens is not None else replace(self, tokens=max(total, 2))


@SCHEDULES.register("exponential")
@dataclass(frozen=True)
class Exponential(CountedSchedule):
    """1 - N^-(1 - r)."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - float(self.tokens or DEFAULT_TOKENS) ** (progress - 1)


@SCHEDULES.register("logarithmic")
@dataclass(frozen=True)
class Logarithmic(CountedSchedule):
    """-log2(r) / log2(N), which reaches 1 at r = 1 / N."""

    def formula(self, progress: Tensor) -> Tensor:
        return (-progress.log2() / math.log2(self.tokens or DEFAULT_TOKENS)).clamp(0, 1)
