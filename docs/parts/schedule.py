"""mgt_core/schedules/circle.py: a mask schedule. It appears in the list of the node MGT Mask Schedule by itself."""

from dataclasses import dataclass

from torch import Tensor

from ..registry import SCHEDULES
from .base import MaskSchedule


@SCHEDULES.register("circle")
@dataclass(frozen=True)
class Circle(MaskSchedule):
    """sqrt(1 - r^2): a quarter of a circle."""

    def formula(self, progress: Tensor) -> Tensor:
        return (1 - progress**2).sqrt()
