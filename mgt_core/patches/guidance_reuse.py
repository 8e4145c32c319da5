"""Guidance residual reuse: the unconditional evaluation is left out in most steps.

LazyMAR (arXiv 2503.12450), its condition cache: what the two evaluations differ by moves slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..backbones.base import Backbone
from ..interval import in_interval
from ..registry import PATCHES
from ..settings import share, whole
from .base import Entry, Moment, Patch, RunPatch, States


@PATCHES.register("guidance_reuse")
@dataclass(frozen=True)
class GuidanceReuse(Patch):
    """Settings. every: steps from one evaluation of both conditions to the next; 1 changes nothing.
    start, end: share of the run in which it acts, as for modifiers."""

    slot = "guidance_reuse"
    title = "guidance reuse"
    place = "conditions"
    interval_of = "guidance reuse"
    neutral = {"every": 1}

    every: int = whole(2, 1, 100_000, "guidance reuse every")
    start: float = share(0.0)
    end: float = share(1.0)

    def begin(self, network: Backbone) -> "RunReuse":
        return RunReuse(self)


class RunReuse(RunPatch):
    """During one run. What is kept is the difference of the features, before the token head: for every cell,
    so that cells masked again have it too, and as wide as the network instead of the codebook. The differences
    are taken from the first positive condition."""

    def __init__(self, settings: GuidanceReuse):
        self.settings = settings
        self.gaps: dict[Entry, Tensor] = {}  # [B, N, C] positive - negative
        self.base: Entry | None = None
        self.kept_at = self.index = 0
        self.acting = False

    def enter(self, moment: Moment) -> None:
        self.index = moment.index
        self.acting = in_interval(self.settings.start, self.settings.end, moment.index, moment.total)

    def known(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those whose difference is known and recent: none in a step that evaluated them, however often it comes
        back, so that every 1 is exact."""
        recent = self.acting and 0 < self.index - self.kept_at < self.settings.every
        return list(self.gaps) if recent and matching(entries) == (self.base, list(self.gaps)) else []

    def completed(self, entries: Sequence[Entry], states: States) -> States:
        """With l_u = l_c - gap for those that were left out; keeps the differences when none was."""
        base, negative = matching(entries)
        missing = [entry for entry in negative if entry not in states]
        if missing:
            return {entry: states[base] - self.gaps[entry] for entry in missing} | states
        if self.acting and self.settings.every > 1 and base and negative:
            self.base, self.kept_at = base, self.index
            self.gaps = {entry: states[base] - states[entry] for entry in negative}
        return states


def matching(entries: Sequence[Entry]) -> tuple[Entry | None, list[Entry]]:
    """The first positive entry, and the negative ones."""
    return next((e for e in entries if e[0] == "positive"), None), [e for e in entries if e[0] == "negative"]
