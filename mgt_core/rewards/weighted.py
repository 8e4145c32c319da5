"""Several rewards at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from ..registry import REWARDS
from ..settings import hold
from .base import Reward

MOST_WEIGHT = 1000.0


@REWARDS.register("weighted_sum")
@dataclass(frozen=True)
class WeightedSum(Reward):
    """Σ weight · reward. parts: rewards, each with its weight, negative ones for what is not wanted; one of weight 0 is
    not asked.

    Scores are added as they are. Standardizing them over the candidates would have the same picture score otherwise
    beside other ones, so that an image would depend on its batch, and particles of one step could not be compared with
    those of the next; a spread of almost nothing would be blown up to count like a large one.
    """

    parts: tuple[tuple[Reward, float], ...] = ()

    def __post_init__(self):
        if not isinstance(self.parts, (tuple, list)) or not self.parts:
            raise MGTError("parts are none; expected pairs of a reward and its weight")
        for part in self.parts:
            if not isinstance(part, (tuple, list)) or len(part) != 2 or not isinstance(part[0], Reward):
                raise MGTError(f"parts hold {part!r}; expected pairs of a reward and its weight")
        weighed = ((part, finite_number("weight", weight, -MOST_WEIGHT, MOST_WEIGHT)) for part, weight in self.parts)
        hold(self, parts=tuple(weighed))

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        asked = [(part, weight) for part, weight in self.parts if weight]
        found = [(part, weight, part.score(pictures, images)) for part, weight in asked]
        if odd := next((each for each in found if not isinstance(each[2], Tensor)), None):
            raise MGTError(f"{type(odd[0]).__name__} gave {odd[2]!r}; expected a tensor with a number for each picture")
        scores = [weight * scores.to(pictures.device) for _, weight, scores in found]
        return torch.stack(scores).sum(0) if scores else torch.zeros(len(pictures), device=pictures.device)
