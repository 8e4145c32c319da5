"""What a picture costs where every one goes at its own pace: evaluations until it was done, not until its batch was."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mgt_core.types import Step, TokenState


@dataclass
class Pace:
    """A callback of `sample`. ends: calls and passes of the run after each step, by the step's index."""

    ends: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __call__(self, step: Step) -> None:
        self.ends[step.index] = step.calls, step.passes

    @property
    def whole(self) -> tuple[int, int]:
        """Calls and passes of the run."""
        return self.ends[max(self.ends)]

    def own(self, state: TokenState, takes_back: bool) -> list[tuple[int, int]]:
        """Calls and passes of each picture of `state`, the run's end: as many as until its last token was drawn. A
        sampler that takes tokens back may look at full pictures, so that each costs the whole run."""
        if takes_back:
            return [self.whole] * len(state.tokens)
        last = state.revealed_at.flatten(1).amax(1).tolist()
        return [self.ends.get(index, (0, 0)) for index in last]


def mean(counts: Sequence[float]) -> float:
    """An int where it is whole, as it is where all pictures cost alike."""
    found = sum(counts) / len(counts)
    return int(found) if found == int(found) else found
