"""mgt_core/patches/step_reuse.py: a patch, which acts around or inside the network for the length of a run."""

from dataclasses import dataclass

from torch import Tensor

from ..backbones.base import Backbone
from ..registry import PATCHES
from ..settings import whole
from .base import Features, Moment, Patch, RunPatch


@PATCHES.register("step_reuse")
@dataclass(frozen=True)
class StepReuse(Patch):
    """Evaluates the network in one step of `every`; those in between use what it gave then."""

    slot = "step_reuse"  # takes the place of one attached before
    title = "step reuse"
    place = "network"  # where it acts; patches get their turn in the order of PLACES
    neutral = {"every": 1}

    every: int = whole(2, 1, 1000)

    def begin(self, network: Backbone) -> RunPatch:
        return Reusing(self.every)


class Reusing(RunPatch):
    """During one run: what it remembers ends with it."""

    def __init__(self, every: int):
        self.every, self.index, self.kept = every, 0, {}

    def enter(self, moment: Moment) -> None:
        self.index = moment.index

    def around(self, features: Features) -> Features:
        def evaluate(tokens: Tensor, timestep: Tensor, prepared: object, *hooks: object) -> Tensor:
            if self.index % self.every == 0 or len(tokens) not in self.kept:
                self.kept[len(tokens)] = features(tokens, timestep, prepared, *hooks)
            return self.kept[len(tokens)]

        return evaluate
