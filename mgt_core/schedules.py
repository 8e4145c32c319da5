"""Mask schedules gamma(r): the fraction of tokens still masked at progress r.

MaskGIT (arXiv 2202.04200, section 3.3) introduced them; arXiv 2411.10781 section 3 compares families.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import MGTError
from .registry import SCHEDULES


class MaskSchedule(ABC):
    """A family member. Subclasses give `formula`; the ends are forced here."""

    @abstractmethod
    def formula(self, progress: Tensor) -> Tensor:
        """The published gamma(r) as it stands, for r in [0, 1]; float32 in, float32 out."""

    def ratio(self, progress: Tensor | float) -> Tensor:
        """Masked fraction at `progress` in [0, 1], decreasing from exactly 1 to exactly 0."""
        r = torch.as_tensor(progress, dtype=torch.float32)
        if not ((r >= 0) & (r <= 1)).all():
            raise MGTError(f"progress is {r.tolist()}; accepted is 0 to 1")
        gamma = self.formula(r).clamp(0, 1)
        gamma = torch.where(r == 0, torch.ones_like(gamma), gamma)
        return torch.where(r == 1, torch.zeros_like(gamma), gamma)

    def counts(self, steps: int, total: int) -> list[int]:
        """Tokens still masked after each of `steps` steps, out of `total` masked at the start.

        floor(total * gamma) in float32 (with 24 tokens and r = 4/6 it gives 11, as the published
        samplers do, where float64 gives 12), at most one fewer than before and at least 1 until the
        last step, which leaves 0. With more steps than tokens the late steps redraw the last token.
        """
        left, now = [], total
        for wanted in self.targets(steps, total):
            now = still_masked(wanted, now)
            left.append(now)
        return [*left[:-1], 0]

    def targets(self, steps: int, total: int) -> list[int]:
        """floor(total * gamma((k + 1) / steps)) in float32 for every step k, before any limit."""
        if steps < 1:
            raise MGTError(f"steps is {steps}; accepted is 1 or more")
        progress = torch.arange(1, steps + 1) / steps
        return (total * self.ratio(progress)).floor().long().tolist()


def still_masked(target: int, before: int) -> int:
    """Cells that stay masked in a step that is not the last: at least one is revealed, at least one stays."""
    return max(min(target, before - 1), 1) if before else 0


@SCHEDULES.register("cosine")
@dataclass(frozen=True)
class Cosine(MaskSchedule):
    """cos(pi r / 2)."""

    def formula(self, progress: Tensor) -> Tensor:
        return torch.cos(progress * math.pi / 2)


@SCHEDULES.register("linear")
@dataclass(frozen=True)
class Linear(MaskSchedule):
    """1 - r."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress


def schedule_from(value: "str | MaskSchedule") -> MaskSchedule:
    """A schedule by its registered name, or a ready one as it is."""
    return value if isinstance(value, MaskSchedule) else SCHEDULES.get(value)()
