"""Guidance residual reuse: the unconditional evaluation is left out in most steps.

LazyMAR (arXiv 2503.12450), its condition cache: what the two evaluations differ by moves slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import whole_number
from ..interval import check_interval, in_interval
from .token_cache import Entry


@dataclass(frozen=True)
class GuidanceReuse:
    """Settings. every: steps from one evaluation of both conditions to the next; 1 changes nothing.
    start, end: share of the run in which it acts, as for modifiers."""

    every: int = 2
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        whole_number("guidance reuse every", self.every, 1, 100_000)
        check_interval("guidance reuse", self.start, self.end)

    def begin(self) -> "RunReuse":
        return RunReuse(self)


class RunReuse:
    """During one run. What is kept is the difference of the features, before the token head: for every cell,
    so that cells masked again have it too, and as wide as the network instead of the codebook. Entries are
    conditions, (role, number); the differences are taken from the first positive one."""

    def __init__(self, settings: GuidanceReuse):
        self.settings = settings
        self.gaps: dict[Entry, Tensor] = {}  # [B, N, C] positive - negative
        self.base: Entry | None = None
        self.kept_at = self.index = 0
        self.acting = False

    def enter(self, index: int, total: int, all_masked: Sequence[bool] = ()) -> None:
        """Told before every network evaluation: step `index` of `total`."""
        self.index, self.acting = index, in_interval(self.settings.start, self.settings.end, index, total)

    def known(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of `entries` that need not be evaluated, because the difference is known and recent: none in
        a step that evaluated them, however often it comes back, so that every 1 is exact."""
        recent = self.acting and 0 < self.index - self.kept_at < self.settings.every
        return list(self.gaps) if recent and matching(entries) == (self.base, list(self.gaps)) else []

    def states(self, entries: Sequence[Entry], states: dict[Entry, Tensor]) -> dict[Entry, Tensor]:
        """Features [B, N, C] of the entries that were left out, l_u = l_c - gap; keeps the differences when
        none was."""
        base, negative = matching(entries)
        missing = [entry for entry in negative if entry not in states]
        if missing:
            return {entry: states[base] - self.gaps[entry] for entry in missing}
        if self.acting and self.settings.every > 1 and base and negative:
            self.base, self.kept_at = base, self.index
            self.gaps = {entry: states[base] - states[entry] for entry in negative}
        return {}


def matching(entries: Sequence[Entry]) -> tuple[Entry | None, list[Entry]]:
    """The first positive entry, and the negative ones."""
    return next((e for e in entries if e[0] == "positive"), None), [e for e in entries if e[0] == "negative"]
