"""The sigmoid family."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..registry import SCHEDULES
from ..settings import number
from .base import MaskSchedule


@SCHEDULES.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(MaskSchedule):
    """A sigmoid from `start` to `end` with width `tau`, scaled to go from 1 to 0."""

    start: float = number(-3.0, -100, 100, "schedule start")
    end: float = number(3.0, -100, 100, "schedule end")
    tau: float = number(1.0, 0.01, 100, "schedule tau")

    def __post_init__(self):
        super().__post_init__()
        if self.start >= self.end:
            raise MGTError(f"the sigmoid schedule starts at {self.start} and ends at {self.end}; start must be smaller")
        if not self._drop > 0:
            raise MGTError(
                f"the sigmoid schedule from {self.start} to {self.end} with tau {self.tau} is flat: "
                "bring the ends nearer to 0"
            )

    def _rising(self, x: Tensor) -> Tensor:
        # Mirrored where both ends lie far above 0: there the sigmoid is 1 but for digits that are lost.
        sign = -1.0 if self.start + self.end > 0 else 1.0
        return sign * torch.sigmoid(sign * x.double() / self.tau)

    @property
    def _drop(self) -> float:
        first, last = self._rising(torch.tensor([self.start, self.end])).tolist()
        return last - first

    def formula(self, progress: Tensor) -> Tensor:
        x = progress.double() * (self.end - self.start) + self.start
        return ((self._rising(torch.tensor(self.end)) - self._rising(x)) / self._drop).float()
