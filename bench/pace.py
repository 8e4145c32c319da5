"""What a picture costs where every one goes at its own pace: the evaluations that it needs alone, not those of its
batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mgt_core import SAMPLERS, Sampler
from mgt_core.types import Step


class Pace:
    """A callback of `sample`, of one run. sampler: the one that runs, whose run may end early as pictures decide; a
    picture then costs the steps in which some of its cells changed, and otherwise what the run costs."""

    def __init__(self, sampler: Sampler | str):
        kind = SAMPLERS.get(sampler) if isinstance(sampler, str) else sampler
        self.ends_early = kind.ends_early
        self.counted = torch.zeros(2, dtype=torch.long)  # calls and passes of the run up to now
        self.spent: Tensor | None = None  # [B, 2] of every picture

    def __call__(self, step: Step) -> None:
        now = torch.tensor([step.calls, step.passes])
        took_part = torch.ones(len(step.tokens), dtype=torch.bool)
        if self.ends_early:
            took_part = (step.result.tokens != step.tokens.to(step.result.tokens.device)).flatten(1).any(1).cpu()
        own = took_part[:, None] * (now - self.counted)
        self.spent = own if self.spent is None else self.spent + own
        self.counted = now

    @property
    def costs(self) -> list[tuple[int, int]]:
        """Calls and passes of every picture."""
        return [tuple(own) for own in self.spent.tolist()]


def mean(counts: Sequence[float]) -> float:
    """An int where it is whole, as it is where all pictures cost alike."""
    found = sum(counts) / len(counts)
    return int(found) if found == int(found) else found
