"""Rescoring: tokens are drawn from, and rated by, what two models predict together."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..model import MGTModel
from ..registry import PATCHES
from ..sampling.second import Second, check_second
from ..settings import share
from .base import Asked, Patch, Rows, RunPatch


@PATCHES.register("rescoring")
@dataclass(frozen=True)
class Rescoring(Patch):
    """MAGNeT (arXiv 2401.04577), its rescorer: p = w p_rescorer + (1 - w) p_model in the place of p_model, in the draw
    and in the confidence. There is none in the released code.

    rescorer: of the model's vocabulary, which reads the same conditions; what is attached to it acts in its own
    prediction. Each of the two is guided before they are mixed, by its own schedule; modifiers of the model act on the
    mixture. weight: w; 0 leaves the model alone, and costs nothing, 1 leaves the rescorer alone.
    """

    slot = "rescoring"
    title = "rescoring"
    place = "answer"
    in_files = False
    neutral = {"weight": 0.0}

    rescorer: MGTModel = field(repr=False)
    weight: float = share(0.5, "rescoring weight")

    @property
    def companions(self) -> tuple[MGTModel, ...]:
        return (self.rescorer,) if self.weight else ()

    def with_companions(self, changed: Callable[[MGTModel], MGTModel]) -> "Rescoring":
        return replace(self, rescorer=changed(self.rescorer))

    def check(self, network: Backbone) -> None:
        check_second(network, self.rescorer, "rescorer")

    def each_repeated(self, images: int, times: int) -> "Rescoring":
        return replace(self, rescorer=self.rescorer.each_repeated(images, times))

    def begin(self, network: Backbone) -> RunPatch:
        return Rescored(self) if self.weight else RunPatch()


class Rescored(RunPatch):
    """During one run."""

    def __init__(self, settings: Rescoring):
        self.settings = settings
        self.second: Second | None = None

    def started(self, run: Any) -> None:
        self.second = Second(self.settings.rescorer, run, "rescorer")

    def answered(self, rows: Rows, asked: Asked) -> Rows:
        other = self.second.evaluate(asked, self.second.guidance(asked))
        return other if self.settings.weight == 1 else Mixture(rows, other, self.settings.weight)


@dataclass(frozen=True)
class Mixture:
    """log(weight softmax(other) + (1 - weight) softmax(own)), cell by cell; 0 < weight < 1."""

    own: Rows
    other: Rows
    weight: float

    def rows(self, part: slice = slice(None)) -> Tensor:
        own, other = (each.rows(part).log_softmax(-1) for each in (self.own, self.other))
        return torch.logaddexp(own + math.log1p(-self.weight), other + math.log(self.weight))
