"""mgt_core/rewards/symmetry.py: a reward, which says what pictures are worth to samplers that try several."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..registry import REWARDS
from ..settings import share
from .base import Reward


@REWARDS.register("symmetry")
@dataclass(frozen=True)
class Symmetry(Reward):
    """1 for a picture that is its own mirror image, less the mean difference where it is not.

    upright: how much of that is left against right; the rest is top against bottom.
    """

    upright: float = share(1.0)

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        across, down = ((pictures - pictures.flip(dim)).abs().mean((1, 2, 3)) for dim in (2, 1))
        return 1 - self.upright * across - (1 - self.upright) * down
