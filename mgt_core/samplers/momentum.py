"""Momentum: multistep extrapolation of the logits. Experimental; arXiv 2411.10781 found no gain from it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import number
from ..types import Step
from .maskgit import MaskGIT


class Extrapolation:
    """l_k + momentum (l_k - l_(k-1)) per cell; a cell not seen at the step before keeps l_k."""

    def __init__(self, momentum: float):
        self.momentum = momentum
        self.previous: Tensor | None = None  # [B, N, V]
        self.seen: Tensor | None = None  # [B, N] bool

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        index = step.positions[..., None].expand(-1, -1, logits.shape[-1])
        cells = step.cells
        out = logits
        if self.previous is not None:
            moved = logits - self.previous.gather(1, index)
            known = self.seen.gather(1, step.positions)[..., None]
            out = torch.where(known, logits + self.momentum * moved, logits)
        self.previous = logits.new_zeros(logits.shape[0], cells, logits.shape[2]).scatter_(1, index, logits)
        self.seen = torch.zeros(logits.shape[0], cells, dtype=torch.bool, device=logits.device)
        self.seen.scatter_(1, step.positions, step.masked)  # the others are there for other images' sake
        return out


@SAMPLERS.register("momentum")
@dataclass(frozen=True)
class Momentum(MaskGIT):
    """MaskGIT on extrapolated logits, after linear multistep solvers (momentum 0.5 is the two-step
    Adams-Bashforth rule; 0 is MaskGIT). Experimental: arXiv 2411.10781, section 3, reports no gain."""

    neutral = {"momentum": 0.0}

    momentum: float = number(0.5, -1, 10)

    @property
    def keeps_logits(self) -> bool:
        return True

    def loop(self, run: Run) -> None:
        # Before the attached modifiers: noise and truncation are not to be extrapolated.
        run.modifiers.insert(0, Extrapolation(self.momentum))
        super().loop(run)
