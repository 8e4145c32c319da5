"""What rewards share: pictures in, one number each out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..settings import Settings


@dataclass(frozen=True)
class Reward(Settings, ABC):
    """Settings of a reward. Higher is better; what its numbers mean is its own matter."""

    @abstractmethod
    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        """[n] float32, of pictures [n, H, W, 3] float in 0..1. images: for which image of the batch each of them is a
        candidate, counted from 0, for rewards that want something else of every image. Raises MGTError for images
        that it has nothing to say of."""
