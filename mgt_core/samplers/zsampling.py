"""Z-Sampling for masked tokens: step forward, go back a step, step forward again."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..interval import in_interval
from ..registry import SAMPLERS
from ..sampling.guided import GuidedRows
from ..sampling.run import Run
from ..sampling.step import Kept, by_parts, chosen_log_probability, least_confident
from ..settings import number, share
from ..types import Step
from .base import ConfidenceSampler

FORWARD, INVERSION, AGAIN = range(3)  # visits of a zigzag step


@dataclass(frozen=True)
class Zigzag(ConfidenceSampler):
    """What the two variants share; `go_back` tells them apart.

    start, end: share of the run in which steps are zigzags (step k of T when start <= k / T < end;
    the last step never is).
    """

    takes_back = True
    interval_of = "zigzag"
    neutral = {"end": 0.0}

    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            kept = self.surest(run, run.draw(index, visit=FORWARD))
            if index < run.steps - 1 and in_interval(self.start, self.end, index, run.steps):
                run.remember(kept)
                # One fewer than before the step, but never below what is masked now: the last cell waits.
                before = [max(count - 1, left) for count, left in zip(run.left, kept.left, strict=True)]
                back = self.go_back(run, kept, before)
                kept = self.surest(run, run.draw(index, back, before, visit=AGAIN))
            run.accept(kept)

    @abstractmethod
    def go_back(self, run: Run, kept: Kept, masked: list[int]) -> Tensor:
        """Tokens [B, N] with `masked` cells of each image masked again."""


@SAMPLERS.register("masked_zsampling")
@dataclass(frozen=True)
class MaskedZSampling(Zigzag):
    """Masked Z-Sampling, arXiv 2411.10781, section 3.4, after Z-Sampling (arXiv 2412.10891).

    Going back evaluates the network on the new state with weak guidance, redraws the masked cells and
    the visible ones it is surest of, and masks the least confident. Three network calls a step.
    inversion_cfg: guidance on the way back (0 in the authors' demo). candidates: share of the paper's
    number of visible cells that may be redrawn (1: as the paper; less goes back less far; 0: not at all).
    """

    inversion_cfg: float = number(0.0, 0, 1000)
    candidates: float = share(1.0, "zigzag candidates")

    @property
    def guidances(self) -> tuple[float, ...]:
        return (self.inversion_cfg,) if self.start < self.end else ()

    def go_back(self, run: Run, kept: Kept, masked: list[int]) -> Tensor:
        tokens, index = kept.tokens, kept.index
        everywhere = run.all_cells(tokens)
        unknown = tokens == run.model.mask_id

        def evaluate() -> GuidedRows:
            return run.evaluate(tokens, index + 1, self.inversion_cfg, kept.left, everywhere, second_pass=False)

        step = run.step(tokens, index, positions=everywhere, masked=unknown, visit=INVERSION)
        choose = run.chooser(step)

        def draw(logits: Tensor, own: Step) -> tuple[Tensor, ...]:
            total, drawn = logits.logsumexp(-1), run.drawn_ids(choose, logits, own)
            return logits.amax(-1) - total, drawn, chosen_log_probability(logits, drawn)

        sureness, drawn, log_probability = by_parts(evaluate(), step, draw, run.rows_at_once)
        visible = ~unknown & ~run.given
        targets = [target[index] for target in run.targets]
        counts = [int(max(m - t, 0) * self.candidates) for m, t in zip(masked, targets, strict=True)]
        candidates = visible & least_confident(-sureness, visible, counts)
        free = unknown | candidates
        run.check_finite(log_probability, index, lambda: evaluate().rows())
        confidence = log_probability + run.temperatures[index] * run.draws.gumbel(step)
        again = free & least_confident(confidence, free, masked)  # fewer candidates leave fewer to mask
        run.confidence = torch.where(free & ~again, log_probability, run.confidence)
        return torch.where(free, drawn, tokens).masked_fill(again, run.model.mask_id)


@SAMPLERS.register("zsampling")
@dataclass(frozen=True)
class ZSampling(Zigzag):
    """Plain Z-Sampling (arXiv 2412.10891) carried over to tokens: going back masks cells at random among
    those that were not given. Two network calls a step; the baseline of arXiv 2411.10781, section 3.4."""

    def go_back(self, run: Run, kept: Kept, masked: list[int]) -> Tensor:
        unknown = kept.tokens == run.model.mask_id
        visible = ~unknown & ~run.given
        step = run.step(kept.tokens, kept.index, visit=INVERSION)
        again = [max(m - left, 0) for m, left in zip(masked, kept.left, strict=True)]
        return kept.tokens.masked_fill(least_confident(run.draws.gumbel(step), visible, again), run.model.mask_id)
