"""Spans of cells that stand next to each other, which are kept or masked again as one: MAGNeT, arXiv 2401.04577,
section 3. Functions of tensors alone, on the host, where a step decides what it masks.

There are B images of N cells, of which n spans of L cells are made.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..sampling.step import least_confident

SETTLED = -1e4  # score of a cell that holds a token, as published

# Scores of spans [B, n] from log-probabilities [B, n, L] of what was drawn in them: the highest are masked. Beside each
# the log-probability of cells beyond the grid's end, with which they do not count.
SCORINGS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "max": (-math.inf, lambda log_p: 1 - log_p.amax(-1).exp()),
    "product": (0.0, lambda log_p: -log_p.sum(-1)),
}


@dataclass(frozen=True)
class Arrangement(ABC):
    """How spans lie. Its units are what the schedule counts and what has a score. cells: N. length: L."""

    cells: int
    length: int

    @abstractmethod
    def holding(self, cells: Tensor) -> Tensor:
        """[B, units] bool: which hold any of `cells` [B, N] bool."""

    @abstractmethod
    def looked_at(self, masked: Tensor) -> Tensor:
        """[B, N] bool: the cells whose draw counts in a score, of `masked` [B, N] bool ones."""

    @abstractmethod
    def scores(self, log_p: Tensor) -> Tensor:
        """[B, units], the higher the less sure, from log-probabilities [B, N] of the tokens drawn at those cells, 0
        elsewhere."""

    @abstractmethod
    def at_random(self, noise: Tensor) -> Tensor:
        """[B, units] scores from noise [B, N]."""

    @abstractmethod
    def chosen(self, scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
        """[B, N] bool: cells of the units with the highest scores [B, units] among those that may be masked again,
        [B, units] bool: `counts` of each image."""


@dataclass(frozen=True)
class Apart(Arrangement):
    """One after the other, "nonoverlapping": units are spans, the last of which may be shorter. scoring: one of
    SCORINGS; spans of one cell have the log-probability itself."""

    scoring: str

    def spans(self, values: Tensor, beyond: float) -> Tensor:
        """[B, N] -> [B, n, L], with `beyond` after the last cell."""
        lacking = -self.cells % self.length
        return functional.pad(values, (0, lacking), value=beyond).unflatten(1, (-1, self.length))

    def covered(self, spans: Tensor) -> Tensor:
        """[B, n] -> [B, N], cells of those spans."""
        return spans.repeat_interleave(self.length, 1)[:, : self.cells]

    def holding(self, cells: Tensor) -> Tensor:
        return self.spans(cells, False).any(-1)

    def looked_at(self, masked: Tensor) -> Tensor:
        return self.covered(self.holding(masked))

    def scores(self, log_p: Tensor) -> Tensor:
        beyond, score = SCORINGS[self.scoring if self.length > 1 else "product"]
        return score(self.spans(log_p, beyond))

    def at_random(self, noise: Tensor) -> Tensor:
        return noise[:, :: self.length]

    def chosen(self, scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
        return self.covered(least_confident(-scores, among, counts) & among)


@dataclass(frozen=True)
class Overlapping(Arrangement):
    """At every cell one begins, "stride1" as published: units are cells, and a union of spans is masked that has about
    as many of them. It may hold cells that were settled."""

    def holding(self, cells: Tensor) -> Tensor:
        return cells

    def looked_at(self, masked: Tensor) -> Tensor:
        return masked

    def scores(self, log_p: Tensor) -> Tensor:
        return -log_p

    def at_random(self, noise: Tensor) -> Tensor:
        return noise

    def chosen(self, scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
        return union_of_spans(scores.masked_fill(~among, SETTLED), self.length, counts)


def union_of_spans(scores: Tensor, length: int, targets: Sequence[int]) -> Tensor:
    """[B, N] bool: the union of the spans with the highest sums of scores [B, N], as many as bring it near the
    target of each image (`spans_taken`); nothing where that is 0. Of equal spans the first comes first."""
    length = min(length, scores.shape[1])
    sums = scores.unfold(1, length, 1).sum(-1)
    ranks = (-sums).argsort(dim=1, stable=True).argsort(dim=1)
    # A cell is masked as soon as the first span is taken that covers it.
    beyond = ranks.shape[1]
    around = functional.pad(ranks, (length - 1, length - 1), value=beyond)
    earliest = around.unfold(1, length, 1).amin(-1)
    taken = []
    for own, target in zip(earliest.sort(dim=1).values, targets, strict=True):
        taken.append(spans_taken(lambda spans, own=own: int(torch.searchsorted(own, spans)), target, length, beyond))
    return earliest < torch.tensor(taken)[:, None]


def spans_taken(count: Callable[[int], int], target: int, length: int, most: int) -> int:
    """How many spans to take of `most`, so that they cover about `target` cells: count(spans) says how many these do.

    The published search by halves: it ends with the last number that it looked at, which need not be the nearest one.
    """
    if not target:
        return 0
    target = max(target, length)
    low, high = target // length, min(target - length + 1, most)
    middle = round((low + high) / 2)  # half to even
    looked_at = middle
    while low < middle < high:
        looked_at = middle
        if count(middle) > target:
            high = middle
        else:
            low = middle
        middle = round((low + high) / 2)
    return looked_at


def nucleus(logits: Tensor, p: float) -> Tensor:
    """logits [..., V], minus infinity where the codes that are likelier hold more than `p`."""
    ordered, order = logits.sort(dim=-1, descending=True)
    chances = ordered.softmax(-1)
    beyond = chances.cumsum(-1) - chances > p
    return logits.scatter(-1, order, ordered.masked_fill(beyond, -math.inf))
