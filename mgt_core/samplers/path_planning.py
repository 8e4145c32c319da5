"""Path planning: what a step masks is planned over all cells, known ones too."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import MGTError
from ..model import MGTModel
from ..patches.base import Asked, Moment, Rows
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..sampling.second import Second
from ..sampling.step import Drawn, by_parts, chosen_log_probability, filled
from ..settings import number
from ..types import Step
from .base import ConfidenceSampler

GUIDANCE = 1.0  # of a planner, which is asked how well tokens fit the prompt


@SAMPLERS.register("path_planning")
@dataclass(frozen=True)
class PathPlanning(ConfidenceSampler):
    """P2 (arXiv 2502.03540, section 3 and algorithm 1): draw z for the masked cells; score every cell, masked ones by
    log p[z], known ones by eta log g[what they hold]; the lowest scores, as many as the schedule says, are masked.
    Given cells stay.

    eta: how readily known tokens are taken back: 0 never (MaskGIT), 1 on a par with new ones (RDM, arXiv 2302.05737,
    at temperature 0), above 1 sooner. It multiplies the logarithm, as in the released code; the paper's equation 7
    has it beside the probability of the new ones, which is the same at 0 and 1. planner: None, and g is what the model
    itself says of its known tokens, in the same evaluation (self-planning); or a model of the same vocabulary, whose
    g is read off the completed grid (BERT planning), at guidance 1 and for one more pass a step.

    The released code scores a known cell by a token drawn anew there; here it is the token that it holds, as the
    paper's proposition 2 has it. Confidence noise counts in every cell: at a high temperature and eta 1 any cell is as
    likely to be masked as another, which is DFM's sampling (arXiv 2402.04997).
    """

    takes_back = True
    neutral = {"eta": 0.0}

    eta: float = number(1.0, 0, 100, "path planning eta")
    planner: MGTModel | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self):
        if not isinstance(self.planner, MGTModel | None):
            raise MGTError(f"the planner is {type(self.planner).__name__}; expected the .model of a loaded bundle")
        super().__post_init__()

    @property
    def guidances(self) -> tuple[float, ...]:
        return () if self.planner is None else (GUIDANCE,)

    def each_repeated(self, images: int, times: int) -> "PathPlanning":
        return self if self.planner is None else replace(self, planner=self.planner.each_repeated(images, times))

    def with_companions(self, changed: Callable[[MGTModel], MGTModel]) -> "PathPlanning":
        return self if self.planner is None else replace(self, planner=changed(self.planner))

    def loop(self, run: Run) -> None:
        planner = Second(self.planner, run, "planner") if self.planner is not None and self.eta else None
        if planner:
            planner.acquire(GUIDANCE)
        for index in run.indices:
            drawn, known = self.planned(run, index, planner)
            confidence = torch.where(drawn.cells, drawn.log_probability, known) + run.noise(drawn)
            run.accept(run.keep(drawn, confidence, among=~run.given))

    def planned(self, run: Run, index: int, planner: Second | None) -> tuple[Drawn, Tensor | float]:
        """The step's draw, and scores [B, N] of cells that hold a token; infinite for all where none may go back."""
        held = [total - left for total, left in zip(run.totals, run.left, strict=True)]
        if not self.eta or not any(map(min, held, run.left_after(index))):
            return run.draw(index), math.inf
        if planner is None:
            drawn, scores = with_known(run, index)
        else:
            drawn = run.draw(index)
            scores = fit_of(planner, run, drawn)
        return drawn, self.eta * scores


def with_known(run: Run, index: int) -> tuple[Drawn, Tensor]:
    """As run.draw, and log-probabilities [B, N] of what the known cells hold, by the same evaluation."""
    tokens, everywhere = run.tokens, run.all_cells(run.tokens)
    masked = tokens == run.model.mask_id

    def evaluate() -> Rows:
        return run.evaluate(tokens, index, run.cfgs[index], run.left, everywhere)

    guided = evaluate()
    step = run.step(tokens, index, positions=everywhere, masked=masked)
    choose, rows = (run.draws.categorical, run.cells) if run.at_once else (run.chooser(step), run.rows_at_once)

    def compute(logits: Tensor, own: Step) -> tuple[Tensor, Tensor]:
        logits = run.modified(logits, own)
        ids = torch.where(own.masked, run.drawn_ids(choose, logits, own), tokens.gather(1, own.positions))
        return ids, chosen_log_probability(logits, ids)

    ids, scores = by_parts(guided, step, compute, rows)
    run.check_finite(scores.masked_fill(~masked, 0), index, lambda: evaluate().rows())
    return filled(step, tokens, run.left, ids, scores), scores


def fit_of(planner: Second, run: Run, drawn: Drawn) -> Tensor:
    """[B, N] log-probability of every token of the completed grid, by the planner, which sees all of them."""
    tokens, everywhere = drawn.tokens, run.all_cells(drawn.tokens)
    moment = Moment(drawn.step.index, run.steps, [False] * len(tokens))
    asked = Asked(tokens.unflatten(1, run.grid), GUIDANCE, everywhere, moment)

    def evaluate() -> Rows:
        return planner.evaluate(asked, GUIDANCE, told=run.steps - 1)  # as of a complete grid

    def fit(logits: Tensor, own: Step) -> tuple[Tensor]:
        return (chosen_log_probability(logits, tokens.gather(1, own.positions)),)

    step = run.step(tokens, moment.index, positions=everywhere, masked=~drawn.cells)
    (scores,) = by_parts(evaluate(), step, fit, run.rows_at_once)
    run.finite.add(~scores.isnan().any(), lambda: planner.report(moment.index, lambda: evaluate().rows()))
    return scores
