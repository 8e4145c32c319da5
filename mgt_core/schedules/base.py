"""Mask schedules gamma(r): the fraction of tokens still masked at progress r.

MaskGIT (arXiv 2202.04200, section 3.3) introduced them; arXiv 2411.10781, section 3.1, compares families.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import MGTError, whole_number
from ..plain import plain_number
from ..registry import SCHEDULES
from ..settings import Settings


class MaskSchedule(Settings, ABC):
    """A family member, a frozen dataclass. Subclasses give `formula`; the ends are forced here."""

    neutral = None  # every schedule decides how many tokens a step reveals
    listed: ClassVar[bool] = True  # by MGT Mask Schedule; not where its settings are all there is to it

    @abstractmethod
    def formula(self, progress: Tensor) -> Tensor:
        """The published gamma(r) as it stands, for r in [0, 1]; float32 in, float32 out."""

    def ratio(self, progress: Tensor | float) -> Tensor:
        """Masked fraction at `progress` in [0, 1], decreasing from exactly 1 to exactly 0."""
        r = torch.as_tensor(progress if isinstance(progress, Tensor) else plain_number(progress), dtype=torch.float32)
        if not bool(((r >= 0) & (r <= 1)).all()):
            raise MGTError(f"progress is {r.tolist()}; accepted is 0 to 1")
        gamma = self.formula(r).clamp(0, 1)
        gamma = torch.where(r == 0, torch.ones_like(gamma), gamma)
        return torch.where(r == 1, torch.zeros_like(gamma), gamma)

    def for_tokens(self, total: int) -> "MaskSchedule":
        """The same schedule for a run over `total` tokens; most families do not depend on it."""
        return self

    def counts(self, steps: int, total: int) -> list[int]:
        """Tokens still masked after each of `steps` steps, out of `total` masked at the start.

        floor(total * gamma) in float32 (with 24 tokens and r = 4/6 it gives 11, as the published
        samplers do, where float64 gives 12), within what `still_masked` allows. With more steps than
        tokens the late steps redraw the last token.
        """
        steps, total = whole_number("steps", steps, 1, 100_000), whole_number("tokens", total, 0, 2**31)
        left, now = [], total
        for index, target in enumerate(self.targets(steps, total)):
            now = still_masked(target, now, steps - 1 - index)
            left.append(now)
        return left

    def targets(self, steps: int, total: int) -> list[int]:
        """floor(total * gamma((k + 1) / steps)) in float32 for every step k, before any limit."""
        progress = torch.arange(1, steps + 1) / steps
        return (total * self.for_tokens(total).ratio(progress)).floor().long().tolist()


def still_masked(target: int, before: int, steps_left: int) -> int:
    """Masked cells after a step that `before` were masked at, with `steps_left` steps to come.

    At least one is revealed and at least one left for every step to come, as far as there are enough;
    the last step leaves none. The published samplers keep at least one in all, so that a steep schedule
    may reveal nothing in some steps; the counts agree wherever theirs reveal something at every step.
    """
    if not before or not steps_left:
        return 0
    return max(min(max(target, steps_left), before - 1), 1)


def schedule_from(value: "str | MaskSchedule") -> MaskSchedule:
    """A schedule by its registered name, or a ready one as it is."""
    return value if isinstance(value, MaskSchedule) else SCHEDULES.get(value)()
