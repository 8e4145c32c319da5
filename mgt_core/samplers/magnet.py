"""Masked decoding in spans of cells that stand next to each other, as of sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import MGTError
from ..model import MGTModel
from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.draws import Draws
from ..sampling.run import Run
from ..sampling.step import Drawn, Kept
from ..settings import choice, number, share, whole
from ..types import SOUND, Step, TokenState
from .base import Sampler
from .spans import SCORINGS, Apart, Arrangement, Overlapping, nucleus

APART, OVERLAPPING = "nonoverlapping", "overlapping"
COLDEST = 0.01  # temperature, as published
FIRST = 1e3  # added to noise: those come first


@SAMPLERS.register("magnet")
@dataclass(frozen=True)
class Spans(Sampler):
    """MAGNeT (arXiv 2401.04577, section 3): at every step draw all masked cells, and mask the spans of neighbours again
    that it is least sure of, as many as the schedule says of spans. No noise: what differs between seeds is drawn.

    span_length: cells of a span, along the rows of the grid, one row after the other. arrangement: "nonoverlapping",
    as released: spans follow each other, and what an earlier step kept stays; of sound the frames after the last whole
    span are cut off, of pictures the last span is shorter. "overlapping": one begins at every cell (stride1 in the
    released code), the schedule counts cells, and spans may take kept cells back. scoring: how sure it is of a span, by
    the "max" of the probabilities that its tokens were drawn with, as released, or their "product"; overlapping spans
    always have the product.
    temperature: that ids are drawn at and spans scored, from softmax(logits / temperature) before modifiers see them;
    annealed: at step k of T it is (T - 1 - k) / T of that, 0.01 at the least. top_p: ids are drawn from the likeliest
    codes that hold this probability (1: all; 0 in the released code), and scored by what they have among all.
    greedy: no draw, the likeliest ids.

    Spans that are given in part are drawn and scored as a whole, and keep what is given. The defaults are those for
    music; for sounds temperature 3.5 and top_p 0.8.
    """

    takes_back = True
    neutral = None

    span_length: int = whole(3, 1, 4096)
    arrangement: str = choice(APART, (APART, OVERLAPPING))
    scoring: str = choice("max", tuple(SCORINGS))
    temperature: float = number(3.0, 0, 1000, "temperature")
    annealed: bool = True
    top_p: float = share(0.9, "top-p")
    greedy: bool = False

    def draw_temperatures(self, steps: int) -> list[float]:
        return [0.0 if self.greedy else 1.0] * steps

    def softness(self, steps: int) -> list[float]:
        """What the logits of every step are divided by."""
        shares = ((steps - 1 - index) / steps if self.annealed else 1.0 for index in range(steps))
        return [max(self.temperature * share, COLDEST) for share in shares]

    def arranged(self, cells: int) -> Arrangement:
        """The spans of a grid of so many cells."""
        if self.arrangement == OVERLAPPING and self.span_length > 1:
            return Overlapping(cells, self.span_length)
        return Apart(cells, self.span_length, self.scoring)

    def cut(self, model: MGTModel, state: TokenState) -> TokenState:
        if model.makes != SOUND or self.arrangement == OVERLAPPING:
            return state
        frames = state.grid[1]
        if frames < self.span_length:
            raise MGTError(
                f"the sound is {frames} frames long and a span {self.span_length}: make it longer, or the spans shorter"
            )
        names = ("tokens", "fixed", "revealed_at", "confidence")
        whole = {name: value for name in names if (value := getattr(state, name)) is not None}
        return replace(state, **{name: v[..., : frames - frames % self.span_length] for name, v in whole.items()})

    def loop(self, run: Run) -> None:
        # Before the attached modifiers, so that these see what is drawn from.
        run.modifiers.insert(0, divided(self.softness(run.steps)))
        if self.top_p < 1:
            run.draws = Truncated(run.draws, self.top_p)
        spans, free = self.arranged(run.cells), run.state.to_fill.flatten(1).cpu()
        among = spans.holding(free)
        totals = among.sum(1).tolist()
        targets = run.targets_of(totals, among.shape[1])

        def left_after(index: int) -> list[int]:
            """One unit of each image at the least, wherever there is any."""
            return [min(max(own[index], 1), total) for own, total in zip(targets, totals, strict=True)]

        masked = self.started(run, spans, free, left_after) if run.first else free
        for index in run.indices:
            drawn = self.drawn(run, index, spans, masked)
            again = torch.zeros_like(masked)
            if index < run.steps - 1:
                # Asks the device, once a step: which cells are masked decides how many are looked at.
                scores = spans.scores(drawn.log_probability.cpu())
                again = spans.chosen(scores, spans.holding(masked), left_after(index)) & free
            kept = ended(run, drawn, again)
            run.accept(kept)
            # Particles may have taken each other's place.
            masked = again if run.tokens is kept.tokens else (run.tokens == run.model.mask_id).cpu()

    def started(self, run: Run, spans: Arrangement, free: Tensor, left_after: Callable[[int], list[int]]) -> Tensor:
        """[B, N] bool: what is masked where a run begins late, spans at random."""
        held = run.state.tokens.flatten(1).cpu()
        lacking = held == run.model.mask_id
        noise = run.draws.gumbel(run.step(run.tokens, run.first)).cpu()
        scores = spans.at_random(noise) + FIRST * spans.holding(lacking)
        masked = spans.chosen(scores, spans.holding(free), left_after(run.first - 1)) & free | lacking
        run.tokens = sent(held.masked_fill(masked, run.model.mask_id), run.device)
        run.left, run.confidence = masked.sum(1).tolist(), run.confidence_brought()
        return masked

    def drawn(self, run: Run, index: int, spans: Arrangement, masked: Tensor) -> Drawn:
        """A draw of the cells that count in a score, given ones among them."""
        wanted = spans.looked_at(masked)
        counts = wanted.sum(1).tolist()
        if counts == list(run.left):
            return run.draw(index)
        return run.draw(index, counts=counts, wanted=sent(wanted, run.device), masked=run.left)


def ended(run: Run, drawn: Drawn, again: Tensor) -> Kept:
    """The end of a step that masks `again` [B, N] bool, on the host; given cells keep what they hold."""
    masked, new = sent(again, run.device), drawn.cells & ~run.given
    tokens = torch.where(new, drawn.tokens, run.tokens).masked_fill(masked, run.model.mask_id)
    return Kept(drawn.step.index, tokens, again.sum(1).tolist(), new & ~masked, drawn.log_probability)


def divided(temperatures: list[float]) -> Callable[[Tensor, Step], Tensor]:
    """A modifier that divides the logits of every step by its temperature."""
    return lambda logits, step: logits / temperatures[step.index]


class Truncated:
    """Draws of another source, from the likeliest codes of a cell alone, which hold the probability `p`."""

    def __init__(self, draws: Draws, p: float):
        self.draws, self.p = draws, p
        if hasattr(draws, "chooser"):
            self.chooser = self.choosing

    def categorical(self, logits: Tensor, step: Step) -> Tensor:
        return self.draws.categorical(nucleus(logits, self.p), step)

    def choosing(self, step: Step) -> Callable[[Tensor, Tensor], Tensor]:
        choose = self.draws.chooser(step)
        return lambda logits, positions: choose(nucleus(logits, self.p), positions)

    def gumbel(self, step: Step) -> Tensor:
        return self.draws.gumbel(step)
