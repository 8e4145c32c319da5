"""KL(q || p) of decoding in an order and by counts that are fixed in advance, without a histogram.

Where neither looks at what was drawn, a run that reveals the groups G_1 ... G_T of cells draws x with

    q(x) = prod_t prod_{i in G_t} q(x_i | x_{G_1}, ..., x_{G_{t-1}})

where the factors are the network's predictions, after modifiers, so that log q(x) is the sum of the log-probabilities
that the run records, and KL(q || p) = E_q[log q(x) - log p(x)] is the mean over its own pictures: unbiased, whatever
the number of grids. What else is random in a run (the order where it is drawn, noise on the logits) is then part of the
condition: the mean is over it as well, and bounds the KL of the mixture from above (q log q is convex).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..samplers.fixed_order import FixedOrder
from ..schedules.base import MaskSchedule, still_masked
from ..types import TokenState
from .truth import Estimate, Predictor, Truth


def log_ratios(truth: Truth, before: TokenState, after: TokenState, labels: Tensor) -> Tensor:
    """log q(x) - log p(x) of every picture of a run, [B] float64, both given the cells that it left as they were.

    before, after: the states that a run of a FixedOrder sampler began and ended with. Raises MGTError where the run
    repainted given tokens, whose log-probabilities it does not record.
    """
    if before.strength is not None:
        raise MGTError("the run repainted given tokens (strength); its log-probability is not recorded")
    start, end = before.tokens.flatten(1), after.tokens.flatten(1)
    recorded = after.confidence.flatten(1).double().masked_fill(~before.masked.flatten(1), 0).sum(1)
    return recorded - truth.log_probability(end, labels) + truth.log_probability(start, labels)


def groups(sampler: FixedOrder, schedule: MaskSchedule, steps: int, grid: tuple[int, int]) -> list[Tensor]:
    """The cells that each step reveals of an empty grid, for an order that draws nothing."""
    if sampler.roll or sampler.order == "random":
        raise MGTError("the order is drawn anew for every picture; it has no groups fixed in advance")
    order = sampler.places(grid, torch.Generator())
    left, found = len(order), []
    for index, target in enumerate(sampler.paced(schedule).targets(steps, len(order))):
        now = still_masked(target, left, steps - 1 - index)
        done = len(order) - left
        found.append(order[done : done + left - now])
        left = now
    return found


def teacher_forced(predictor: Predictor, revealed: Sequence[Tensor], tokens: Tensor, labels: Tensor) -> Tensor:
    """log q(x) of any full grids [B, N] when groups of cells are revealed in turn, [B] float64."""
    now, total = torch.full_like(tokens, predictor.mask_id), torch.zeros(len(tokens), dtype=torch.float64)
    for cells in revealed:
        rows = predictor.logits(now, labels)[:, cells].double().log_softmax(-1)
        total += rows.gather(-1, tokens[:, cells, None])[..., 0].sum(1)
        now[:, cells] = tokens[:, cells]
    return total


@dataclass(frozen=True)
class Enumerated:
    """Exact distances of the grids that are decoded, q, from the truth p. kl: KL(q || p) in nats of the whole grid.
    reverse: KL(p || q). total_variation: half the sum of |q - p|."""

    kl: float
    reverse: float
    total_variation: float


def enumerated(truth: Truth, predictor: Predictor, revealed: Sequence[Tensor], label: int = 0) -> Enumerated:
    """By listing every grid, for truths that are small."""
    grids = truth.every_grid()
    labels = torch.full((len(grids),), label)
    log_p, log_q = truth.log_probability(grids, labels), teacher_forced(predictor, revealed, grids, labels)
    p, q = log_p.exp(), log_q.exp()
    return Enumerated(
        kl=float((q * (log_q - log_p)).sum()),
        reverse=float((p * (log_p - log_q)).sum()),
        total_variation=float((p - q).abs().sum()) / 2,
    )


def forgetting(
    truth: Truth, predictor: Predictor, revealed: Sequence[Tensor], tokens: Tensor, labels: Tensor
) -> Estimate:
    """KL(p || q) in nats of the whole grid, the mean of log p - log q over exact draws [B, N]: what the pictures that
    decoding misses weigh."""
    return Estimate.of(truth.log_probability(tokens, labels) - teacher_forced(predictor, revealed, tokens, labels))
