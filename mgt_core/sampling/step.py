"""One step of masked decoding, from top to bottom: evaluate, modify, draw, score, keep.

MaskGIT (arXiv 2202.04200, section 3.2) as Meissonic (arXiv 2410.08261) runs it. There are B images of N cells, of which
M are looked at, and V codes. What is remembered from step to step is in run.py; nothing here is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..placement import sent
from ..pulse import beat
from ..types import Step
from .guided import GuidedRows

Compute = Callable[[Tensor, Step], tuple[Tensor, ...]]  # (logits [B, m, V], the step of their cells) -> [B, m] each
Modify = Callable[[Tensor, Step], Tensor]  # (logits [B, m, V], the step of their cells) -> logits [B, m, V]
Choose = Callable[[Tensor, Step], Tensor]  # (logits [B, m, V], the step of their cells) -> ids [B, m]
LEAST_TEMPERATURE = 1e-30  # of a draw: logits divided by less may leave float32


@dataclass(frozen=True)
class Drawn:
    """A step up to the choice of what it keeps.

    step: with the cells it looked at. tokens: [B, N] with an id drawn in `cells` [B, N] bool, which are `counts` in
    each image. log_probability: [B, N] of those ids, 0 in the other cells.
    """

    step: Step
    tokens: Tensor
    cells: Tensor
    counts: Sequence[int]
    log_probability: Tensor


@dataclass(frozen=True)
class Kept:
    """The end of step `index`. tokens: [B, N] after it; left: how many are masked in each image. kept: [B, N] bool,
    cells whose drawn id stays. log_probability: of what was drawn."""

    index: int
    tokens: Tensor
    left: Sequence[int]
    kept: Tensor
    log_probability: Tensor


def draw(
    guided: GuidedRows, step: Step, modify: Modify, choose: Choose, rows: int, seen: Step | None = None
) -> tuple[Tensor, Tensor]:
    """Ids for the step's cells and their log-probabilities, [B, M] each: modify, draw, score.

    rows: of each image whose logits are held at once. seen: the step with other cells, which modifiers see instead of
    its own; then all of them are held at once.
    """

    def compute(logits: Tensor, own: Step) -> tuple[Tensor, Tensor]:
        logits = modify(logits, own)
        if seen is not None:
            logits, own = take_cells(logits, step.positions), step
        ids = choose(logits, own)
        return ids, chosen_log_probability(logits, ids)

    return by_parts(guided, seen or step, compute, rows)


def at_temperature(choose: Choose, temperature: float) -> Choose:
    """`choose` from softmax(logits / temperature); at 0, or what is as good as 0, the likeliest id, whatever it would
    draw."""
    if temperature == 1:
        return choose
    if temperature < LEAST_TEMPERATURE:
        return lambda logits, step: logits.argmax(-1)
    return lambda logits, step: choose(logits / temperature, step)


def filled(step: Step, tokens: Tensor, counts: Sequence[int], ids: Tensor, scores: Tensor) -> Drawn:
    """Ids [B, M] and their log-probabilities [B, M] put into those of the step's cells that step.masked says.

    tokens: [B, N] before the step. counts: how many cells of each image that are."""
    where, here = step.positions, step.masked
    return Drawn(
        step=step,
        tokens=tokens.scatter(1, where, torch.where(here, ids, tokens.gather(1, where))),
        cells=torch.zeros_like(tokens, dtype=torch.bool).scatter(1, where, here),
        counts=counts,
        log_probability=torch.zeros_like(tokens, dtype=scores.dtype).scatter(1, where, scores.masked_fill(~here, 0)),
    )


def keep(drawn: Drawn, confidence: Tensor, left: Sequence[int], mask_id: int, among: Tensor | None = None) -> Kept:
    """Mask the `left` least confident cells of each image again; all others keep what they hold.

    confidence: [B, N]. among: [B, N] bool, the cells that may be masked: those just drawn by default. With known cells
    among them, a step can take back what an earlier one decided.
    """
    among = drawn.cells if among is None else among
    again = among & least_confident(confidence, among, left)
    kept = drawn.cells & ~again
    return Kept(drawn.step.index, drawn.tokens.masked_fill(again, mask_id), left, kept, drawn.log_probability)


def by_parts(guided: GuidedRows, step: Step, compute: Compute, rows: int) -> tuple[Tensor, ...]:
    """What `compute` makes of the logits of some of the step's cells, `rows` of each image, for all of them: [B, M]."""
    results = []
    for start in range(0, max(step.positions.shape[1], 1), rows):  # of no cell, too
        beat()
        part = slice(start, start + rows)
        own = replace(step, positions=step.positions[:, part], masked=step.masked[:, part])
        results.append(compute(guided.rows(part), own))
    if len(results) == 1:
        return results[0]
    return tuple(torch.cat(values, dim=1) for values in zip(*results, strict=True))


def first_positions(wanted: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cells where `wanted` [B, N] bool holds: positions [B, most] in row-major order, and whether each
    is wanted [B, most] (images with fewer are padded with other cells)."""
    order = torch.argsort((~wanted).to(torch.uint8), dim=1, stable=True)[:, :most]
    return order, wanted.gather(1, order)


def chosen_log_probability(logits: Tensor, ids: Tensor) -> Tensor:
    """log softmax(logits)[id]. logits: [B, M, V], ids: [B, M] -> [B, M] float32."""
    if logits.is_cuda:  # the same in two kernels; there logsumexp is half a dozen
        return logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)


def least_confident(confidence: Tensor, candidates: Tensor, counts: Sequence[int]) -> Tensor:
    """[B, M] bool: as many candidates of smallest confidence [B, M] as `counts` says for each image;
    ties go to the first cell."""
    order = confidence.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True)
    first = sent(torch.arange(order.shape[1]) < torch.tensor(counts)[:, None], order.device)
    return torch.empty_like(first).scatter_(1, order, first)


def take_cells(values: Tensor, positions: Tensor) -> Tensor:
    """Rows [B, M, V] of a table over all cells [B, N, V]."""
    return values.gather(1, positions[..., None].expand(-1, -1, values.shape[-1]))
