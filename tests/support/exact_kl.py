"""What a run in a fixed order records, found by other roads: forced through any grids, and by listing them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mgt_core import FixedOrder
from mgt_core.lab.truth import Estimate, Predictor, Truth
from mgt_core.schedules.base import MaskSchedule, still_masked


def groups(sampler: FixedOrder, schedule: MaskSchedule, steps: int, grid: tuple[int, int]) -> list[Tensor]:
    """The cells that each step reveals of an empty grid, for an order that draws nothing."""
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
