"""mgt_core/samplers/second_thoughts.py: a sampler, which says what is drawn and kept in which step."""

from dataclasses import dataclass

import torch

from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import share
from .base import ConfidenceSampler


@SAMPLERS.register("second_thoughts")
@dataclass(frozen=True)
class SecondThoughts(ConfidenceSampler):
    """MaskGIT that may mask a known token again when it was less sure of it than of those it draws now.

    doubt: at 1 the log-probability that a known token was drawn with counts as it is; below, it has a head start of
    1 / doubt - 1; 0 keeps all.
    """

    takes_back = True  # may mask again what an earlier step revealed
    neutral = {"doubt": 0.0}  # draws what MaskGIT draws, number by number

    doubt: float = share(0.5)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            drawn = run.draw(index)  # an id for every masked cell, and its log-probability [B, N]
            known = run.confidence + 1 / self.doubt - 1 if self.doubt else torch.inf
            confidence = torch.where(drawn.cells, drawn.log_probability, known) + run.noise(drawn)
            # Of the cells that were not given, as many stay masked as the schedule says.
            run.accept(run.keep(drawn, confidence, among=~run.given))
