"""Momentum: multistep extrapolation of predictions. Experimental; arXiv 2411.10781 found no gain from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import choice, number
from ..types import Step
from .maskgit import MaskGIT


def in_logits(now: Tensor, before: Tensor, momentum: float) -> Tensor:
    """The same in log-probabilities: they differ from logits by one number a cell, which the softmax takes out."""
    return now + momentum * (now - before)


def in_probabilities(now: Tensor, before: Tensor, momentum: float) -> Tensor:
    """Logits of p_k + momentum (p_k - p_(k-1)), negative ones left out. They add up to 1 or more before that."""
    p, earlier = now.softmax(-1), before.softmax(-1)
    return (p + momentum * (p - earlier)).clamp_min(torch.finfo(p.dtype).tiny).log()


@dataclass(frozen=True)
class Rule:
    """extrapolated: (logits [B, M, V], those of the step before, momentum) -> logits. pairs: whether only the second of
    every two steps is."""

    extrapolated: Callable[[Tensor, Tensor, float], Tensor]
    pairs: bool = False


RULES: Mapping[str, Rule] = {
    "logits": Rule(in_logits),
    "probabilities": Rule(in_probabilities),
    "trapezoidal": Rule(in_probabilities, pairs=True),
}


class Extrapolation:
    """What a rule makes of the steps of a run; a cell not seen at the step before keeps its logits."""

    def __init__(self, momentum: float, rule: Rule):
        self.momentum, self.rule = momentum, rule
        self.previous: Tensor | None = None  # [B, N, V]
        self.seen: Tensor | None = None  # [B, N] bool

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        index = step.positions[..., None].expand(-1, -1, logits.shape[-1])
        cells = step.cells
        out = logits
        if self.previous is not None:
            moved = self.rule.extrapolated(logits, self.previous.gather(1, index), self.momentum)
            known = self.seen.gather(1, step.positions)[..., None]
            out = torch.where(known, moved, logits)
            if self.rule.pairs:
                self.previous = self.seen = None  # the next step begins a pair
                return out
        self.previous = logits.new_zeros(logits.shape[0], cells, logits.shape[2]).scatter_(1, index, logits)
        self.seen = torch.zeros(logits.shape[0], cells, dtype=torch.bool, device=logits.device)
        self.seen.scatter_(1, step.positions, step.masked)  # the others are there for other images' sake
        return out


@SAMPLERS.register("momentum")
@dataclass(frozen=True)
class Momentum(MaskGIT):
    """MaskGIT on extrapolated predictions, after linear multistep solvers. Experimental: arXiv 2411.10781, section 3,
    reports no gain; what its section 8 ("Ineffective Method") computes is not to be had, so that the rules are of other
    sources.

    rule: "logits", l_k + momentum (l_k - l_(k-1)), of which 0.5 is the two-step Adams-Bashforth rule. "probabilities",
    p_k + momentum (p_k - p_(k-1)) with what is negative left out: the rates of masked diffusion are proportional to p.
    "trapezoidal", the same in the second of every two steps alone: the theta-trapezoidal method for masked diffusion
    (arXiv 2502.00234) with counts in place of jump times, whose second stage goes by a_1 mu_mid - a_2 mu_left with
    a_1 - a_2 = 1 and a_2 = ((1 - theta)^2 + theta^2) / (2 theta (1 - theta)), the momentum: 1 for theta = 1/2.
    Momentum 0 is MaskGIT by every rule.
    """

    neutral = {"momentum": 0.0}

    momentum: float = number(0.5, -1, 10)
    rule: str = choice("logits", tuple(RULES), "momentum rule", kw_only=True)

    @property
    def keeps_logits(self) -> bool:
        return True

    def loop(self, run: Run) -> None:
        if self.momentum:
            # Before the attached modifiers: noise and truncation are not to be extrapolated.
            run.modifiers.insert(0, Extrapolation(self.momentum, RULES[self.rule]))
        super().loop(run)
