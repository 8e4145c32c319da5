"""How far a training stage has come, by steps or by the clock, and the learning rate there."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field


@dataclass
class Budget:
    """`steps` or `minutes`, whichever ends first; `before` is what earlier runs used, in seconds."""

    steps: int | None = None
    minutes: float | None = None
    before: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("a budget needs steps or minutes")

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """0 at the start, 1 when spent."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = self.elapsed() / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_clock))


def rate(progress: float, step: int, *, warmup: int, hold: float) -> float:
    """Learning-rate factor: linear warm-up, constant until `hold`, then a cosine to 0."""
    tail = max(0.0, (progress - hold) / (1 - hold))
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * tail))
