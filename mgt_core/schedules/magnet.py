"""The cosine schedule as MAGNeT walks it."""

from dataclasses import dataclass

import torch

from ..registry import SCHEDULES
from .closed_form import Cosine


@SCHEDULES.register("magnet")
@dataclass(frozen=True)
class Magnet(Cosine):
    """cos(pi r / 2), r being 0 at the first step and 1 at the last (MAGNeT, arXiv 2401.04577, section 3, as released):
    step k of T, from 0, begins with trunc(N cos(pi/2 k / (T - 1))) of N tokens masked, one at the least. "cosine" has
    r = k / T there: this one falls a little faster, and leaves a single token to the last step."""

    def targets(self, steps: int, total: int) -> list[int]:
        """What the next step begins with, in float32; nothing after the last."""
        begins = total * self.formula(torch.linspace(0, 1, steps)[1:])
        return [*begins.trunc().long().clamp_min(min(1, total)).tolist(), 0]
