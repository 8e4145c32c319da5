"""Self-Guidance (arXiv 2410.13136) as a patch; backbones/branch.py says what it computes."""

import copy
from dataclasses import dataclass, field

from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.branch import Branch
from ..errors import MGTError
from ..interval import in_interval
from ..placement import compute_dtype
from ..registry import PATCHES
from ..settings import number, share
from .base import Call, Moment, Patch, RunPatch


@PATCHES.register("self_guidance")
@dataclass(frozen=True)
class SelfGuidance(Patch):
    """branch: trained for the model. scale: s (0 changes nothing; 1 as released). start, end: share of
    the run in which it acts, as for modifiers; other steps cost no more than without it."""

    slot = "self_guidance"
    title = "Self-Guidance"
    place = "second pass"
    extra_passes = 1
    in_files = False
    interval_of = "Self-Guidance"
    neutral = {"scale": 0.0}

    branch: Branch = field(repr=False)
    scale: float = number(1.0, 0, 100, "Self-Guidance scale")
    start: float = share(0.0)
    end: float = share(1.0)

    def __post_init__(self):
        if not isinstance(self.branch, Branch):
            raise MGTError(f"the Self-Guidance branch is {type(self.branch).__name__}; expected one that was loaded")
        super().__post_init__()

    def check(self, network: Backbone) -> None:
        self.branch.check(network)

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        return sum(p.numel() for p in self.branch.parameters()) * size

    def begin(self, network: Backbone) -> RunPatch:
        return SecondPass(self, network)


class SecondPass(RunPatch):
    """The branch where the network computes, in its number format."""

    def __init__(self, settings: SelfGuidance, network: Backbone):
        device = next(network.parameters()).device
        self.settings = settings
        self.branch = copy.deepcopy(settings.branch).to(device, compute_dtype(network))
        self.acting = False

    def enter(self, moment: Moment) -> None:
        settings = self.settings
        self.acting = settings.scale != 0 and in_interval(settings.start, settings.end, moment.index, moment.total)

    def looks_again(self) -> bool:
        return self.acting

    def look_again(self, call: Call, hidden: Tensor, timestep: Tensor, prepared: object) -> Tensor:
        return self.branch.second_pass(call.network, hidden, call.tokens, timestep, prepared)

    def steered(self, guided: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return guided + self.settings.scale * (first - second)
