"""mgt_core/patches/step_reuse.py: a patch, which acts around or inside the network for the length of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..backbones.base import Backbone
from ..registry import PATCHES
from ..settings import whole
from .base import Entry, Moment, Patch, RunPatch, States


@PATCHES.register("step_reuse")
@dataclass(frozen=True)
class StepReuse(Patch):
    """Evaluates the network in one step of `every`; those in between use what it gave then."""

    slot = "step_reuse"  # takes the place of one attached before
    title = "step reuse"
    place = "conditions"  # where it acts; patches get their turn in the order of PLACES
    neutral = {"every": 1}

    every: int = whole(2, 1, 1000)

    def begin(self, network: Backbone) -> RunPatch:
        return Reusing(self.every)


class Reusing(RunPatch):
    """During one run: what it remembers ends with it."""

    def __init__(self, every: int):
        self.every, self.index = every, 0
        self.kept: States = {}  # [B, N, C] what the token head read, by condition

    def enter(self, moment: Moment) -> None:
        self.index = moment.index

    def known(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Conditions that need not be evaluated this time."""
        return entries if self.index % self.every and self.kept.keys() >= set(entries) else ()

    def completed(self, entries: Sequence[Entry], states: States) -> States:
        self.kept |= states
        return {entry: self.kept[entry] for entry in entries}
