"""A Markov model on a quadtree: large grids, exact by belief propagation (Pearl 1982)."""

import math
from functools import cached_property

import torch
from torch import Tensor

from ..errors import MGTError, finite_number, whole_number
from ..plain import members
from .truth import Truth, checked_sizes, draw_rows, pick, with_mixture

CHILDREN = 4


def morton(side: int) -> Tensor:
    """[side * side] long: the cells, row-major, in the order in which the tree holds them, four brothers together."""
    rank = torch.zeros(1, 1, dtype=torch.long)
    while len(rank) < side:
        quarters = [rank + quarter * rank.numel() for quarter in range(CHILDREN)]
        rank = torch.cat([torch.cat(quarters[:2], 1), torch.cat(quarters[2:], 1)])
    return rank.flatten().argsort()


class Quadtree(Truth):
    """Nodes of one code each: the root stands for the whole picture, every node has four children, and the leaves are
    the cells of a side x side grid. A child takes its parent's code with probability `stay[level]`, and otherwise any
    code, each as likely.

    stay: for the children of the root first; one number for all levels. classes: class c draws the root's code from the
    codes congruent to c, so that 1 leaves it free.
    """

    def __init__(self, side: int = 16, codes: int = 16, stay: float | tuple[float, ...] = 0.9, classes: int = 1):
        side = whole_number("quadtree side", side, 2, 256)
        self.levels = side.bit_length() - 1
        if 2**self.levels != side:
            raise MGTError(f"quadtree side is {side}; accepted are powers of 2")
        self.grid, codes, classes = checked_sizes((side, side), codes, classes)
        if classes > codes:
            raise MGTError(f"the quadtree has {classes} classes and {codes} codes; every class needs a code")
        self.codes, self.classes = codes, classes
        found = members(stay)
        stay = [stay] * self.levels if found is None else found
        if len(stay) != self.levels:
            raise MGTError(f"stay has {len(stay)} values; a side of {side} has {self.levels} levels")
        self.stay = tuple(finite_number("stay", value, 0, 0.9999) for value in stay)
        own = (torch.arange(codes) % classes == torch.arange(classes)[:, None]).double()
        self.root = with_mixture((own / own.sum(1, keepdim=True)).log()).exp()  # [classes + 1, V]
        self.order = morton(side)
        self.place = self.order.argsort()

    @cached_property
    def evidence(self) -> Tensor:
        """[V + 1, V]: what a cell that holds an id says of its code; the mask says nothing."""
        return torch.cat([torch.eye(self.codes), torch.ones(1, self.codes)])

    def pass_along(self, level: int, values: Tensor) -> Tensor:
        """Through the edges into `level`, which are the same in both directions. [..., V] -> [..., V]."""
        stay = self.stay[level]
        return stay * values + (1 - stay) / self.codes * values.sum(-1, keepdim=True)

    def upward(self, tokens: Tensor, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor]:
        """Messages [B, 4^(l + 1), V] into each level's parents, root's first; evidence at the root [B, V], and the log
        [B] of what it was divided by."""
        belief = self.evidence.to(dtype)[tokens[:, self.order]]
        messages, scale = [], torch.zeros(len(tokens), dtype=dtype)
        for level in reversed(range(self.levels)):
            message = self.pass_along(level, belief)
            messages.append(message)
            belief = message.unflatten(1, (-1, CHILDREN)).prod(2)
            largest = belief.amax(-1, keepdim=True)
            belief, scale = belief / largest, scale + largest.log().sum((1, 2))
        return messages[::-1], belief[:, 0], scale

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        messages, _, _ = self.upward(tokens, torch.float32)
        above = pick(self.root.float(), labels)[:, None]  # [B, nodes, V], what is known beside a node's own children
        for level, message in enumerate(messages):
            first, second, third, fourth = message.unflatten(1, (-1, CHILDREN)).unbind(2)
            early, late = above * first * second, above * third * fourth
            brothers = torch.stack([second * late, first * late, fourth * early, third * early], 2)
            brothers = brothers / brothers.sum(-1, keepdim=True)
            above = self.pass_along(level, brothers).flatten(1, 2)
        return above[:, self.place].log()

    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        _, belief, scale = self.upward(tokens, torch.float64)
        return (pick(self.root, labels) * belief).sum(-1).log() + scale

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        nodes = draw_rows(pick(self.root, labels), generator)[:, None]
        for stay in self.stay:
            nodes = nodes.repeat_interleave(CHILDREN, 1)
            fresh = torch.randint(self.codes, nodes.shape, generator=generator)
            nodes = torch.where(torch.rand(nodes.shape, generator=generator) < stay, nodes, fresh)
        return nodes[:, self.place]

    def agreement(self) -> dict[int, float]:
        """P(two cells agree) by how many levels up their lowest common ancestor is."""
        found = {}
        for height in range(1, self.levels + 1):
            kept = math.prod(self.stay[self.levels - height :]) ** 2
            found[height] = kept + (1 - kept) / self.codes
        return found
