"""Vanilla parallel decoding of MaskGIT."""

import math
from dataclasses import dataclass

import torch

from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import number
from .base import ConfidenceSampler


@SAMPLERS.register("maskgit")
@dataclass(frozen=True)
class MaskGIT(ConfidenceSampler):
    """At every step draw all masked cells, keep the surest, mask the rest again.

    MaskGIT, arXiv 2202.04200, section 3.2. known_confidence: of the tokens that are known already, before the
    noise; infinite keeps them. The released codes have the log of the largest float32, 88.72, so that a hot
    temperature (25 and more, as Self-Guidance was released with) masks a few of them again. Given cells stay.
    """

    neutral = {}

    known_confidence: float = number(math.inf, 0, math.inf, kw_only=True)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            drawn = run.draw(index)
            confidence = torch.where(drawn.cells, drawn.log_probability, self.known_confidence) + run.noise(drawn)
            run.accept(run.keep(drawn, confidence, among=~run.given))
