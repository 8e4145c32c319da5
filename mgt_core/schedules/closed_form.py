"""Families that a formula without parameters gives, and the power law."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import SCHEDULES
from ..settings import number
from .base import MaskSchedule


@SCHEDULES.register("cosine")
@dataclass(frozen=True)
class Cosine(MaskSchedule):
    """cos(pi r / 2)."""

    def formula(self, progress: Tensor) -> Tensor:
        return torch.cos(progress * math.pi / 2)


@SCHEDULES.register("linear")
@dataclass(frozen=True)
class Linear(MaskSchedule):
    """1 - r."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress


@SCHEDULES.register("square")
@dataclass(frozen=True)
class Square(MaskSchedule):
    """1 - r^2."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**2


@SCHEDULES.register("cubic")
@dataclass(frozen=True)
class Cubic(MaskSchedule):
    """1 - r^3."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**3


@SCHEDULES.register("root")
@dataclass(frozen=True)
class Root(MaskSchedule):
    """1 - sqrt(r)."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress.sqrt()


@SCHEDULES.register("pow")
@dataclass(frozen=True)
class Pow(MaskSchedule):
    """1 - r^exponent."""

    exponent: float = number(2.0, 0.01, 100, "schedule exponent")

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**self.exponent


@SCHEDULES.register("arccos")
@dataclass(frozen=True)
class Arccos(MaskSchedule):
    """2 arccos(r) / pi; the count law of the Halton scheduler (arXiv 2503.17076)."""

    def formula(self, progress: Tensor) -> Tensor:
        return torch.acos(progress) / (math.pi / 2)
