"""Do pictures follow a distribution? Pearson's test, and several tests as one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FEWEST = 5.0  # expected in a cell of the table


def chi_square_tail(value: float, freedom: int) -> float:
    """P(chi square with that many degrees of freedom >= value)."""
    half = (torch.tensor(number / 2, dtype=torch.float64) for number in (freedom, value))
    return float(torch.special.gammaincc(*half))


def fit_p(counts: Tensor, p: Tensor) -> float:
    """p of Pearson's test that counts [S] follow p [S]; rare outcomes are put together until FEWEST are expected."""
    order = p.argsort(descending=True)
    expected, seen = (p * counts.sum())[order], counts[order].double()
    alone = max(int((expected >= FEWEST).sum()), 1)
    # The rare ones, from the rarest on, in lots that each expect enough; what is left over joins the last lot.
    lot = ((expected.sum() - expected.cumsum(0)) / FEWEST).long()
    lots = torch.where(torch.arange(len(p)) < alone, torch.arange(len(p)), alone + lot)
    _, lots = lots.unique(return_inverse=True)
    expected, seen = (torch.zeros(int(lots.max()) + 1).double().scatter_add_(0, lots, v) for v in (expected, seen))
    if len(expected) > 1 and expected.min() < FEWEST:
        least = int(expected.argmin())
        other = least - 1 if least else 1
        expected[other], seen[other] = expected[other] + expected[least], seen[other] + seen[least]
        keep = torch.arange(len(expected)) != least
        expected, seen = expected[keep], seen[keep]
    if len(expected) < 2:
        return 1.0
    return chi_square_tail(float(((seen - expected) ** 2 / expected).sum()), len(expected) - 1)


def pooled_p(ps: Sequence[float]) -> float:
    """p of several independent tests as one (Fisher 1925)."""
    return chi_square_tail(-2 * sum(math.log(max(p, 1e-300)) for p in ps), 2 * len(ps))
