"""Adaptive by stability (KLASS)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..sampling.step import Drawn
from ..settings import number, share, whole
from ..types import Step
from .adaptive import Adaptive, Watch

LOWEST = -1e4  # log-probability of what cannot be drawn, so that differences are numbers


class Stability(Watch):
    """quiet: for how many evaluations in a row KL(p_k || p_(k-1)) of a cell has been below `kl`; top: probability of
    its likeliest code."""

    def __init__(self, kl: float):
        super().__init__()
        self.kl = kl
        self.previous: Tensor | None = None  # [B, N, V] log p at the evaluation before

    def of(self, logits: Tensor, step: Step) -> dict[str, Tensor]:
        log_p = logits.log_softmax(-1).clamp_min_(LOWEST)
        if self.previous is None:
            self.previous = log_p.new_full((len(log_p), step.cells, log_p.shape[-1]), torch.nan)  # far from anything
            self.tables["quiet"] = torch.zeros(len(log_p), step.cells, dtype=torch.long, device=log_p.device)
        moved = divergence(log_p, self.previous.gather(1, index_of(step, log_p)))
        self.previous.scatter_(1, index_of(step, log_p), log_p)
        before = self.tables["quiet"].gather(1, step.positions)
        return {"quiet": (before + 1).masked_fill(~(moved < self.kl), 0), "top": log_p.amax(-1).exp()}


def index_of(step: Step, log_p: Tensor) -> Tensor:
    """The step's cells, for tables [B, N, V]."""
    return step.positions[..., None].expand_as(log_p)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats, [B, M] of [B, M, V] each."""
    return ((log_p - log_q) * log_p.exp()).sum(-1)


@SAMPLERS.register("klass")
@dataclass(frozen=True)
class KLASS(Adaptive[Stability]):
    """KL-adaptive stability sampling, arXiv 2511.05664: cells are kept whose prediction is sure and has stopped moving.

    A cell is ready when its likeliest code has a probability above `confidence` and KL(p_k || p_(k-1)) was below `kl`
    at each of the last `history` evaluations. All that are ready stay, up to a share `cap` of the cells that the run
    fills; where the schedule asks for more, the surest of the others as well, as MaskGIT has it, with its temperature.
    In the released code (github.com/shkim0116/KLASS) the tokens that stay are the likeliest ones, where here they are
    drawn (top-k 1 takes the likeliest); other cells stay only where none is ready; and there is no cap. Its thresholds
    are for text (0.6 to 0.9, 0.001 to 0.015, 2), which codes of pictures seldom reach: many do as well at a place.
    """

    neutral = {"confidence": 1.0}

    confidence: float = share(0.1, "confidence threshold")
    kl: float = number(0.05, 0, 100, "KL threshold", step=0.01)
    history: int = whole(2, 1, 1000)
    cap: float = share(1.0)

    @property
    def keeps_logits(self) -> bool:
        return True

    def watch(self, run: Run) -> Stability:
        return Stability(self.kl)

    def judge(self, run: Run, drawn: Drawn, watch: Stability, noise: Tensor | float) -> tuple[Tensor, Tensor]:
        sure = drawn.log_probability + noise
        ready = drawn.cells & (watch.tables["quiet"] >= self.history) & (watch.tables["top"] > self.confidence)
        # By rank, so that every ready cell comes before all others.
        ranks = sure.argsort(dim=1, stable=True).argsort(dim=1) + ready * run.cells
        most = torch.tensor([int(self.cap * count) for count in run.totals])
        return ranks.float(), ready.sum(1).minimum(sent(most, run.device))
