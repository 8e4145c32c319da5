"""Gibbs corrector: after each step some known cells are masked at random and drawn anew."""

from dataclasses import dataclass, replace

import torch

from ..interval import in_interval
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..sampling.step import Kept, least_confident
from ..settings import choice, share, whole
from .base import ConfidenceSampler

CHANCE, DOUBTFUL = "chance", "doubtful"
REDRAWN = 1  # visit of the first sweep


@SAMPLERS.register("gibbs")
@dataclass(frozen=True)
class GibbsCorrector(ConfidenceSampler):
    """Predictor and corrector: a step of MaskGIT, then sweeps that mask known cells and draw them from the network's
    conditionals, given all others that are known; as many cells stay masked. Cells that chance picks, one a sweep, are
    Gibbs sampling: with the right conditionals what the step left keeps its law at that mask level, and comes nearer to
    it where the step drew several cells at once. Several cells together are drawn independently, which costs less and
    is no longer exact. After arXiv 2605.22765, which does so for uniform noise with leave-one-out denoisers: of an
    absorbing process these are the network's own predictions of masked cells. Given cells stay.

    sweeps: after every step, a network call each. portion: share of the known cells that a sweep redraws; one at least,
    so that 0 is exact. pick: by "chance", or the "doubtful" ones, with weights 1 / p of the probability p that a token
    was drawn with, which is not exact. start, end: share of the run in which it corrects.
    """

    takes_back = True
    interval_of = "the corrector"
    neutral = {"sweeps": 0}

    sweeps: int = whole(1, 0, 100)
    portion: float = share(0.1, "corrected portion")
    pick: str = choice(CHANCE, (CHANCE, DOUBTFUL))
    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            kept = self.surest(run, run.draw(index))
            if in_interval(self.start, self.end, index, run.steps):
                for sweep in range(self.sweeps):
                    kept = self.redrawn(run, kept, REDRAWN + sweep)
            run.accept(kept)

    def redrawn(self, run: Run, kept: Kept, visit: int) -> Kept:
        """The same, some of its known cells drawn anew."""
        run.remember(kept)
        index = min(kept.index + 1, run.steps - 1)  # whose mask level this is
        known = (kept.tokens != run.model.mask_id) & ~run.given
        held = [total - left for total, left in zip(run.totals, kept.left, strict=True)]
        counts = [min(max(int(self.portion * count), 1), count) for count in held]
        order = run.draws.gumbel(run.step(kept.tokens, index, visit=visit))
        if self.pick == DOUBTFUL:
            order = run.confidence - order
        again = known & least_confident(order, known, counts)
        drawn = run.draw(index, kept.tokens.masked_fill(again, run.model.mask_id), counts, again, visit)
        scores = torch.where(again, drawn.log_probability, kept.log_probability)
        return replace(kept, tokens=drawn.tokens, kept=kept.kept | again, log_probability=scores)
