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

    doubt: how much of the confidence that a known token was kept with still counts against it; 0 keeps all.
    """

    takes_back = True  # may mask again what an earlier step revealed
    neutral = {"doubt": 0.0}  # draws what MaskGIT draws, number by number

    doubt: float = share(0.5)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            drawn = run.draw(index)  # an id for every masked cell, and its log-probability [B, N]
            known = run.confidence if self.doubt else torch.inf
            confidence = torch.where(drawn.cells, drawn.log_probability, known) + run.noise(drawn)
            # Of the cells that were not given, as many stay masked as the schedule says.
            run.accept(run.keep(drawn, confidence, among=~run.given))
