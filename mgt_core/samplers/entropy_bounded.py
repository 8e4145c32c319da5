"""Entropy-bounded unmasking: the EB-Sampler."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import SAMPLERS
from ..sampling.run import Run
from ..sampling.step import Drawn
from ..settings import choice, number
from ..types import Step
from .adaptive import Adaptive, Watch
from .temperature import Ends

TINY = 1e-30  # the logarithm of no margin at all is to be a number, too


def entropy(log_p: Tensor) -> Tensor:
    """In nats; codes that cannot be drawn count nothing. [..., V] -> [...]."""
    return torch.special.entr(log_p.exp()).sum(-1)


def log_margin(log_p: Tensor) -> Tensor:
    """log(p_1 - p_2) of the two likeliest codes. [..., V] -> [...]."""
    first, second = log_p.topk(2, dim=-1).values.exp().unbind(-1)
    return (first - second).clamp_min(TINY).log()


# How sure a prediction is, of log p [..., V], in nats as log p of what is drawn.
PROXIES: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": lambda log_p: -entropy(log_p),
    "confidence": lambda log_p: log_p.amax(-1),
    "margin": log_margin,
}
DRAWN = "drawn"


class Entropies(Watch):
    """entropy: of every cell's prediction, in nats; sureness: by a proxy, where it is one of the prediction."""

    def __init__(self, order: str):
        super().__init__()
        self.proxy = PROXIES.get(order)

    def of(self, logits: Tensor, step: Step) -> dict[str, Tensor]:
        log_p = logits.log_softmax(-1)
        found = {"entropy": entropy(log_p)}
        return found if self.proxy is None else {**found, "sureness": self.proxy(log_p)}


def within(bound: float, entropies: Tensor, sureness: Tensor, cells: Tensor) -> Tensor:
    """How many of `cells` [B, N] bool, the surest first, have a sum of entropies [B, N] less the largest of them that
    is below the bound: [B] long."""
    rising = sureness.masked_fill(~cells, torch.inf).argsort(dim=1, stable=True)  # as `keep` sorts them
    falling = rising.flip(1)  # the other cells, which count nothing, and then the surest
    own = entropies.masked_fill(~cells, 0).gather(1, falling)
    fits = own.cumsum(1) - own.cummax(1).values < bound
    return (fits & cells.gather(1, falling)).sum(1)


@SAMPLERS.register("entropy_bounded")
@dataclass(frozen=True)
class EntropyBounded(Adaptive[Entropies]):
    """EB-Sampler, arXiv 2505.24857: of the masked cells, the surest first, the largest set U is kept for which

        sum of H_i over U - max of H_i over U < bound,    H_i the entropy of cell i's prediction in nats.

    The left side is no less than the KL divergence of U's joint distribution from the product of the predictions (the
    sum of entropies less the joint one, which is at least the largest), so that a run of an exact model that takes T
    steps at most `bound` wide lies at most T bound from the truth, and one cell at a time is exact. Where the schedule
    asks for more cells than the bound allows, the schedule decides: `steps` as large as the cells are leave it to the
    bound, and with bound 0 all is left to the schedule.

    order: what says how sure a prediction is. The paper's error proxies: "entropy", "confidence" (the likeliest code's
    probability), "margin" (that less the second's). None of them looks at what was drawn, which is what makes the bound
    hold; "drawn", the probability of the token that was drawn, is MaskGIT's. temperature: of noise on that order, in
    nats; the paper has none, and the bound holds with it. Entropies are those of what is drawn from, after all
    modifiers.
    """

    neutral = {"bound": 0.0, "order": DRAWN, "temperature": None}

    temperature: float | Ends | None = (0.0, 0.0)
    bound: float = number(2.0, 0, 1000, "entropy bound", step=0.5)
    order: str = choice("entropy", (*PROXIES, DRAWN), "entropy-bounded order")

    def watch(self, run: Run) -> Entropies:
        return Entropies(self.order)

    def judge(self, run: Run, drawn: Drawn, watch: Entropies, noise: Tensor | float) -> tuple[Tensor, Tensor]:
        sureness = watch.tables.get("sureness", drawn.log_probability) + noise
        return sureness, within(self.bound, watch.tables["entropy"], sureness, drawn.cells)
