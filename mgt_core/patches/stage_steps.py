"""How the steps of a run are divided among the stages of a grid that is filled row after row."""

from dataclasses import dataclass

from ..backbones.base import Backbone
from ..errors import MGTError, whole_number
from ..plain import members
from ..registry import PATCHES
from ..settings import hold
from .base import Patch

MOST_STEPS = 100_000  # of a stage


@PATCHES.register("stage_steps")
@dataclass(frozen=True)
class StageSteps(Patch):
    """shares: of the steps, one a stage: a run of as many steps as they add up to takes just these, another one is
    divided like them (sampling/stages.py). Steps that are few beside the stages' tokens cost sound, and the first code
    book is what the others follow: MAGNeT (arXiv 2401.04577) takes 20, 10, 10 and 10 steps, and 60, 10, 10 and 10 for
    30 seconds. By default they are those of the published networks.
    """

    slot = "stage_steps"
    title = "the division of steps among stages"
    place = "guidance"
    needs = "stages"
    neutral = {}

    shares: tuple[int, ...] = (20, 10, 10, 10)

    def __post_init__(self):
        super().__post_init__()
        if not (shares := members(self.shares)):
            raise MGTError(f"stage steps are {self.shares!r}; expected whole numbers, one a stage")
        hold(self, shares=tuple(whole_number("steps of a stage", share, 1, MOST_STEPS) for share in shares))

    def check(self, network: Backbone) -> None:
        if len(network.stage_shares) == 1:
            super().check(network)
        self.shares_of(len(network.stage_shares))

    def shares_of(self, stages: int) -> tuple[int, ...]:
        """The same. Raises MGTError where they are of another number of stages."""
        if len(self.shares) != stages:
            told = ", ".join(map(str, self.shares))
            raise MGTError(f"the stage steps are {told}; this model has {stages} stages, and takes a number for each")
        return self.shares
