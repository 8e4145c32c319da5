"""The moment sampler: which cells are revealed is chosen by what may be drawn there, and then they are drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import threshold

from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..sampling.step import Drawn, least_confident
from ..settings import share
from ..types import Step
from .base import ConfidenceSampler
from .fixed_order import FixedOrder
from .orders import ORDERS

COLDEST = 1e30  # as a power, draws the likeliest code for certain
# Log of a probability beside the greatest: too rare to count, and below it a CPU computes ten times slower.
FAINT = -80.0


def power(temperature: float, part: float = 1.0) -> float:
    """beta = 1 + part / temperature, that codes are drawn with from p^beta."""
    return 1 + min(part / temperature if temperature else part * COLDEST, COLDEST)


class Moments:
    """The last of a run's modifiers: notes how readily each cell is chosen, and sharpens what is drawn there.

    A cell's moment is m = sum p^beta over its codes, beta = 1 + 1 / temperature. scores: [B, N] temperature * log m, of
    the masked cells; at temperature 0, where it ends, log max p. The last step chooses nothing and is left as it is.
    """

    def __init__(self, run: Run, sharpening: float):
        self.temperatures, self.sharpening = run.temperatures, sharpening
        self.scores = torch.zeros_like(run.confidence)

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        if step.index == step.total - 1:
            return logits
        temperature = self.temperatures[step.index]
        below = logits - logits.amax(-1, keepdim=True)  # log p - log max p, within whatever range the logits are
        total = below.exp().sum(-1).log()
        moments = (below * power(temperature)).clamp_min(FAINT).exp().sum(-1).log()
        scores = temperature * moments - (1 + temperature) * total
        self.scores = self.scores.scatter(1, step.positions, scores)
        return threshold(below * power(temperature, self.sharpening), FAINT, -torch.inf) if self.sharpening else logits


@SAMPLERS.register("moment")
@dataclass(frozen=True)
class MomentSampler(ConfidenceSampler):
    """Choose, then sample: what MaskGIT does, the other way round. Hayakawa et al., arXiv 2510.04525.

    MaskGIT draws x ~ p in every cell and keeps the greatest log p(x) + temperature * Gumbel. Where many cells compete,
    that keeps a cell with probability proportional to its moment, the sum of p^beta over its codes, with beta =
    1 + 1 / temperature; and what it keeps there follows p^beta, normalized: codes are drawn at an implicit temperature
    of temperature / (1 + temperature). This sampler chooses cells by the Gumbel-top-k trick over the logs of the
    moments and draws them from p^beta. The last step keeps all and draws from p, as MaskGIT's does.

    sharpening: how much of that temperature codes are drawn at: 1 as MaskGIT; 0 draws from p itself, so that one
    cell a step is exact, in an order that still follows the model. exploration: share of a step's cells that are taken
    in an order which does not look at the model, before the others are chosen. order: a registered one.
    """

    neutral = None

    sharpening: float = share(1.0, "moment sharpening", kw_only=True)
    exploration: float = share(0.0, "moment exploration", kw_only=True)
    order: str = "halton"

    def __post_init__(self):
        ORDERS.get(self.order)
        super().__post_init__()

    def loop(self, run: Run) -> None:
        moments = Moments(run, self.sharpening)
        run.modifiers.append(moments)
        places = None
        if self.exploration:
            places = sent(FixedOrder(self.order).ranks(run.grid, run.generators), run.device).float()
        for index in run.indices:
            drawn = run.draw(index)
            left = run.left_after(index, drawn.counts)
            sureness = moments.scores if self.exploration == 1 else moments.scores + run.noise(drawn)
            if places is not None:
                sureness = sureness.masked_fill(self.explored(drawn, left, places), torch.inf)
            run.accept(run.keep(drawn, sureness, left))

    def explored(self, drawn: Drawn, left: list[int], places: Tensor) -> Tensor:
        """[B, N] bool, the cells that the order takes in this step; places: [B, N] of the cells in it."""
        counts = [round(self.exploration * (n - kept)) for n, kept in zip(drawn.counts, left, strict=True)]
        return least_confident(places, drawn.cells, counts)
