"""Vanilla parallel decoding of MaskGIT."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..errors import finite_number
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import hold
from .base import ConfidenceSampler


@SAMPLERS.register("maskgit")
@dataclass(frozen=True)
class MaskGIT(ConfidenceSampler):
    """At every step draw all masked cells, keep the surest, mask the rest again.

    MaskGIT, arXiv 2202.04200, section 3.2. known_confidence: of the tokens that are known already, before the
    noise; infinite keeps them. The released codes have the log of the largest float32, 88.72, so that a hot
    temperature (25 and more, as Self-Guidance was released with) masks a few of them again. Given cells stay.
    None is as the model recommends where its first temperature is recommended as well, which it goes with; else
    infinite.
    """

    neutral = {}

    known_confidence: float | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.known_confidence is not None:
            hold(self, known_confidence=finite_number("known_confidence", self.known_confidence, 0, math.inf))

    def fitted(self, own: Mapping[str, Any]) -> "MaskGIT":
        known = self.known_confidence
        if known is None:
            known = own["known_confidence"] if self.temperature[0] is None else math.inf
        return replace(super().fitted(own), known_confidence=known)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            drawn = run.draw(index)
            confidence = torch.where(drawn.cells, drawn.log_probability, self.known_confidence) + run.noise(drawn)
            run.accept(run.keep(drawn, confidence, among=~run.given))
