"""Vanilla parallel decoding of MaskGIT."""

from dataclasses import dataclass

from ..registry import SAMPLERS
from ..sampling import Run
from .base import Sampler


@SAMPLERS.register("maskgit")
@dataclass(frozen=True)
class MaskGIT(Sampler):
    """At every step draw all masked cells, keep the surest, mask the rest again.

    MaskGIT, arXiv 2202.04200, section 3.2.
    """

    def loop(self, run: Run) -> None:
        for index in run.indices:
            run.accept(run.forward(run.tokens, index), index)
