"""Vanilla parallel decoding of MaskGIT."""

import math
from dataclasses import dataclass, field, replace

import torch

from ..errors import finite_number
from ..registry import SAMPLERS
from ..sampling.run import Run, StepResult, least_confident
from .base import ConfidenceSampler


@SAMPLERS.register("maskgit")
@dataclass(frozen=True)
class MaskGIT(ConfidenceSampler):
    """At every step draw all masked cells, keep the surest, mask the rest again.

    MaskGIT, arXiv 2202.04200, section 3.2. known_confidence: of the tokens that are known already, before the
    noise; infinite keeps them. The released codes have the log of the largest float32, 88.72, so that a hot
    temperature (25 and more, as Self-Guidance was released with) masks a few of them again. Given cells stay.
    """

    known_confidence: float = field(default=math.inf, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        finite_number("known_confidence", self.known_confidence, 0, math.inf)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            result = run.forward(run.tokens, index)
            if self.known_confidence < math.inf and result.noise is not None:
                result = self.reopened(run, result)
            run.accept(result, index)

    def reopened(self, run: Run, result: StepResult) -> StepResult:
        """`result` with the least confident masked among all cells that were not given."""
        was_masked = run.tokens == run.model.mask_id
        confidence = self.known_confidence + result.noise
        # Positions beyond an image's own masked cells hold known ones.
        confidence = torch.where(was_masked, confidence.scatter(1, result.positions, result.confidence), confidence)
        again = least_confident(confidence.masked_fill(~was_masked & run.given, math.inf), ~run.given, result.left)
        drawn = run.tokens.scatter(1, result.positions, result.drawn)
        tokens = torch.where(was_masked, drawn, run.tokens).masked_fill(again, run.model.mask_id)
        kept = was_masked.gather(1, result.positions) & ~again.gather(1, result.positions)
        return replace(result, tokens=tokens, kept=kept)
