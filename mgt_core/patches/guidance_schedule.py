"""Guidance that changes over the run."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..interval import in_interval
from ..registry import PATCHES
from ..settings import choice, number, share
from .base import Patch

# Weight between the value outside and the full value, at x from 0 (first step) to 1 (last).
GUIDANCE_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 1.0,
    "rising": lambda x: x,
    "falling": lambda x: 1 - x,
    "cosine rising": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "mask": lambda x: math.sin(math.pi * (1 - x) / 2),  # cos(pi x / 2), and nothing but 0 at the end
}
ALONE = {"mask": 0.0}  # x of a single step, 1 elsewhere


@PATCHES.register("guidance")
@dataclass(frozen=True)
class GuidanceSchedule(Patch):
    """Guidance over the run. Step k of T uses the run's value w when start <= k / T < end, and
    `outside` elsewhere (1: the positive condition alone, at half the cost).

    Guidance interval, arXiv 2404.07724; eMIGM (arXiv 2503.07197) finds it for masked models.
    shape: inside the interval: constant (always w), rising from `outside` at its first step to w at its
    last, falling, cosine rising, or mask: falling as the share of masked tokens does by the cosine schedule, from w
    to `outside` (MAGNeT, arXiv 2401.04577, section 3: 10 to 1; its last step then looks at the prompt alone).
    """

    slot = "guidance"
    title = "the guidance schedule"
    place = "guidance"
    interval_of = "guidance"
    neutral = {}

    start: float = share(0.0)
    end: float = share(1.0)
    shape: str = choice("constant", tuple(GUIDANCE_SHAPES), "guidance shape")
    outside: float = number(1.0, 0, 1000, "guidance outside")

    def guidance(self, cfg: float, index: int, total: int) -> float:
        if not in_interval(self.start, self.end, index, total):
            return self.outside
        if self.shape == "constant":
            return cfg
        inside = [k for k in range(total) if in_interval(self.start, self.end, k, total)]
        first, last = inside[0], inside[-1]
        x = (index - first) / (last - first) if last > first else ALONE.get(self.shape, 1.0)
        return self.outside + (cfg - self.outside) * GUIDANCE_SHAPES[self.shape](x)
