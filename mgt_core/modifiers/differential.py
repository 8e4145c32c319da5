"""Differential sampling: where the prediction did not move, sample what is new in it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import MODIFIERS
from ..settings import choice
from ..settings import share as share_of
from ..types import Step
from .base import ActiveModifier, Modifier

FLOOR = 1e-6
POSITIONS = ("all", "masked")
RULES = ("released", "formula")


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) per row. p, q: [..., V] probabilities -> [...]; finite where q underflows."""
    q = q.clamp_min(torch.finfo(q.dtype).tiny)
    return torch.special.xlogy(p, p).sum(-1) - torch.special.xlogy(p, q).sum(-1)


def difference(p: Tensor, q: Tensor) -> Tensor:
    """normalize(max(p - q, 1e-6)). p, q: [..., V] -> [..., V]."""
    rest = (p - q).clamp_min(FLOOR)
    return rest / rest.sum(-1, keepdim=True)


class DifferentialState:
    """What one run remembers: the distribution of the evaluation before, and how many there have been."""

    def __init__(self, settings: "DifferentialSampling"):
        self.settings = settings
        self.previous: Tensor | None = None  # [B, N, V], rows of cells never seen are zero
        self.known: Tensor | None = None  # [B, N] bool, cells with a row in `previous`
        self.counter = 0

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        p = logits.softmax(-1)
        index = step.positions[..., None].expand(-1, -1, p.shape[-1])
        replaced, out = p, logits
        if self._due(step):
            q = self.previous.gather(1, index)
            chosen = self._still(divergence(p, q), step)
            replaced = torch.where(chosen[..., None], difference(p, q), p)
            out = torch.where(chosen[..., None], replaced.log(), logits)
        self._remember(p if self.settings.rule == "formula" else replaced, index, step)
        return out

    def _due(self, step: Step) -> bool:
        if self.previous is None or not self.settings.acts(step):
            return False
        return self.settings.rule == "formula" or (self.counter > 0 and step.index < step.total - 1)

    def _still(self, moved: Tensor, step: Step) -> Tensor:
        """[B, M] bool: the share of positions with the smallest divergence [B, M]."""
        eligible = self.known.gather(1, step.positions)
        if self.settings.positions == "masked":
            eligible = eligible & step.masked
        count = (eligible.sum(1) * self.settings.share).long()
        rank = moved.masked_fill(~eligible, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
        return eligible & (rank < count[:, None])

    def _remember(self, p: Tensor, index: Tensor, step: Step) -> None:
        if self.previous is None:
            cells = step.cells
            self.previous = p.new_zeros(p.shape[0], cells, p.shape[2])
        # Cells that are in the table for other images or modifiers only are not to count.
        seen = step.masked if self.settings.positions == "masked" else torch.ones_like(step.masked)
        self.known = torch.zeros(self.previous.shape[:2], dtype=torch.bool, device=p.device)
        self.known.scatter_(1, step.positions, seen)
        self.previous.scatter_(1, index, p)
        self.counter += 1
        if self.counter == step.total - 1:  # as released: a zigzag, which evaluates more often, pauses here once
            self.counter = 0


@MODIFIERS.register("differential_sampling")
@dataclass(frozen=True)
class DifferentialSampling(Modifier):
    """The positions whose distribution moved least since the evaluation before are sampled from
    normalize(max(p - q, 1e-6)) instead of p; arXiv 2411.10781, section 3.3.

    share: of the positions, by smallest KL(p || q) (0.75 in the paper). positions: "all" ranks every
    cell, as the paper does, which needs the head on all of them; "masked" ranks the masked cells only.
    rule: "released", as the authors' code acts (scheduler.py): q is the distribution that was sampled from, after
    replacement, so that no cell is replaced at step after step, and nothing is replaced at the last step. "formula",
    as the paper's text reads: q is the network's own distribution before replacement, at every step from the second
    on; cells replaced twice in a row end up as noise, which breaks pictures (docs/quality.md).
    """

    neutral = {"share": 0.0}

    share: float = share_of(0.75, "differential share")
    positions: str = choice("all", POSITIONS, "differential positions")
    rule: str = choice("released", RULES, "differential rule")

    @property
    def all_positions(self) -> bool:
        return self.positions == "all"

    def begin(self) -> ActiveModifier:
        return DifferentialState(self)
