"""Anything that gives a number for a picture, as a reward."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from ..plain import plain_number
from ..registry import REWARDS
from .base import Reward

LARGEST = 3e38  # of float32


@REWARDS.register("measured")
@dataclass(frozen=True)
class Measured(Reward):
    """What a function says of a picture. function: takes a picture [1, H, W, 3] float in 0..1 and the image of the
    batch that it is a candidate for, counted from 0, and returns a number. name: what messages call it."""

    function: Callable[[Tensor, int], Any] = None
    name: str = "the reward"

    def __post_init__(self):
        if not callable(self.function):
            raise MGTError(f"function is {self.function!r}; expected one of a picture and the image it is for")

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        found = [self.number(self.function(one[None], image)) for one, image in zip(pictures, images, strict=True)]
        return torch.tensor(found, dtype=torch.float32)

    def number(self, value: Any) -> float:
        """Raises MGTError for what is no finite number."""
        value = plain_number(value)
        return finite_number(self.name, int(value) if isinstance(value, bool) else value, -LARGEST, LARGEST)
