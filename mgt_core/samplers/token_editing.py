"""Token editing: a known token gives way where the network is sure of another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..interval import in_interval
from ..registry import SAMPLERS
from ..sampling.guided import GuidedRows
from ..sampling.run import Run
from ..sampling.step import Drawn, Kept, by_parts, chosen_log_probability, filled, least_confident
from ..settings import choice, share
from ..types import Step
from .base import ConfidenceSampler

IN_PLACE, MASKED = "in place", "masked"
PROBABILITY, MARGIN = "probability", "margin"
EDITING = 1  # visit of the look that edits


@dataclass(frozen=True)
class Judged:
    """What the network says of every cell. best: [B, N] its surest code, log_best: how sure it is of it, and log_now
    of the code that the cell holds."""

    best: Tensor
    log_best: Tensor
    log_now: Tensor


@SAMPLERS.register("token_editing")
@dataclass(frozen=True)
class TokenEditing(ConfidenceSampler):
    """MaskGIT that also replaces known tokens: by the network's surest code v, where v is another one and p(v) is
    above `threshold`: the editing set of LLaDA2.1 (arXiv 2602.08676, section 2, equation 2; diffusers'
    BlockRefinementScheduler has it as `editing_threshold`). Given cells stay.

    view: how the network sees a token that it judges. "in place", as published, in the step's own call: for networks
    that were trained to correct visible tokens. "masked": by a second call a step in which a share `looked_at` of the
    known cells, picked by chance, is masked, as networks trained on masked cells alone know it. rule: "probability", as
    published, or "margin": p(v) is above the old token's by the threshold. At 1 none is, and it is MaskGIT. Modifiers
    do not act on what it judges by. start, end: share of the run in which it edits.
    """

    takes_back = True
    interval_of = "editing"
    neutral = {"threshold": 1.0}

    threshold: float = share(0.5, "editing threshold")
    rule: str = choice(PROBABILITY, (PROBABILITY, MARGIN))
    view: str = choice(MASKED, (MASKED, IN_PLACE))
    looked_at: float = share(0.2, "share looked at")
    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    def loop(self, run: Run) -> None:
        for index in run.indices:
            run.accept(self.edited(run, index) if self.acts(index, run.steps) else self.surest(run, run.draw(index)))

    def acts(self, index: int, steps: int) -> bool:
        return self.threshold < 1 and in_interval(self.start, self.end, index, steps)

    def edited(self, run: Run, index: int) -> Kept:
        """A step's end."""
        if self.view == IN_PLACE:
            drawn, judged = self.drawn_and_judged(run, index)
            known = ~drawn.cells & ~run.given
            return self.replaced(self.surest(run, drawn), judged, known, run.tokens)
        kept = self.surest(run, run.draw(index))
        known = (kept.tokens != run.model.mask_id) & ~run.given
        held = [total - left for total, left in zip(run.totals, kept.left, strict=True)]
        counts = [min(max(int(self.looked_at * count), 1), count) for count in held]
        order = run.draws.gumbel(run.step(kept.tokens, index, visit=EDITING))
        asked = known & least_confident(order, known, counts)
        masked = [a + b for a, b in zip(counts, kept.left, strict=True)]
        return self.replaced(kept, self.judged(run, kept, asked, masked), asked, kept.tokens)

    def replaced(self, kept: Kept, judged: Judged, asked: Tensor, held: Tensor) -> Kept:
        """The same with tokens replaced in those of the cells `asked` [B, N] that hold [B, N] a doubtful one."""
        least = self.threshold
        if self.rule == MARGIN:
            least = least + judged.log_now.exp()
        edited = asked & (judged.best != held) & (judged.log_best.exp() > least)
        return replace(
            kept,
            tokens=torch.where(edited, judged.best, kept.tokens),
            kept=kept.kept | edited,
            log_probability=torch.where(edited, judged.log_best, kept.log_probability),
        )

    def judged(self, run: Run, kept: Kept, asked: Tensor, masked: Sequence[int]) -> Judged:
        """By a call in which the cells `asked` are masked as well: `masked` ones in each image."""
        index = min(kept.index + 1, run.steps - 1)  # whose mask level this is
        tokens = kept.tokens.masked_fill(asked, run.model.mask_id)
        everywhere = run.all_cells(tokens)

        def evaluate() -> GuidedRows:
            return run.evaluate(tokens, index, run.cfgs[index], masked, everywhere)

        step = run.step(tokens, index, positions=everywhere, masked=asked, visit=EDITING)
        found = by_parts(evaluate(), step, lambda logits, own: judge(logits, own, kept.tokens), run.rows_at_once)
        run.check_finite(found[1], index, lambda: evaluate().rows())
        return Judged(*found)

    def drawn_and_judged(self, run: Run, index: int) -> tuple[Drawn, Judged]:
        """By one call: as run.draw, and what it says of every cell."""
        everywhere, unknown = run.all_cells(run.tokens), run.tokens == run.model.mask_id

        def evaluate() -> GuidedRows:
            return run.evaluate(run.tokens, index, run.cfgs[index], run.left, everywhere)

        guided = evaluate()
        step = run.step(run.tokens, index, positions=everywhere, masked=unknown)
        choose, rows = run.draws.categorical, run.cells
        if not run.at_once:
            choose, rows = run.chooser(step), run.rows_at_once

        def compute(logits: Tensor, own: Step) -> tuple[Tensor, ...]:
            judged = judge(logits, own, run.tokens)  # before modifiers
            logits = run.modified(logits, own)
            ids = run.drawn_ids(choose, logits, own)
            return ids, chosen_log_probability(logits, ids), *judged

        ids, scores, *judged = by_parts(guided, step, compute, rows)
        run.check_finite(scores, index, lambda: evaluate().rows())
        return filled(step, run.tokens, run.left, ids, scores), Judged(*judged)


def judge(logits: Tensor, own: Step, held: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of some cells, [B, m] each: the surest code, its log-probability, and that of the codes held [B, N] (of masked
    cells that of any)."""
    now = held.gather(1, own.positions).clamp_max(logits.shape[-1] - 1)
    top, best = logits.max(-1)
    total = logits.logsumexp(-1)
    return best, top - total, logits.gather(-1, now[..., None])[..., 0] - total
