"""First-hitting: when cells are revealed is drawn first, exactly, and steps in which none is cost nothing."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import ClassVar

import torch
from torch import Tensor

from ..model import MGTModel
from ..registry import SAMPLERS
from ..sampling.draws import Chooser, Draws
from ..sampling.run import Run
from ..sampling.step import Kept
from ..schedules.base import MaskSchedule
from ..settings import whole
from ..types import Step, TokenState
from .base import Sampler

Evaluations = Mapping[int, Sequence[int]]  # by step: how many cells of an image each of the step's evaluations reveals


@SAMPLERS.register("first_hitting")
@dataclass(frozen=True)
class FirstHitting(Sampler):
    """The first-hitting sampler, arXiv 2409.02908, section 4: a masked diffusion model reveals each cell at a time of
    its own, of which P(still masked) = 1 - alpha is the mask schedule's gamma. Those times are drawn exactly,
    gamma(t_n) = gamma(t_(n+1)) u^(1/n) while n cells are masked, a random cell at each; and a cell keeps what is drawn
    for it then.

    tokens: how many cells of an image an evaluation reveals. 1 draws each from all that were before it, exactly, by as
    many evaluations as there are cells, whatever the steps of the run; more draw as many at once, at the time of
    the first of them. With 0 the steps are a grid in time: the cells whose times lie in the same one are drawn
    together, which is what the ancestral sampler of as many steps draws, and a step without any is not evaluated.

    Steps are times: the schedule spreads the cells over them, and the network, guidance and modifiers are told the step
    in which a time lies. A step is evaluated when any image of the batch needs it; the others wait, and draw nothing.
    What counts evaluations (patches that reuse some, differential sampling) then counts those of the batch.
    """

    neutral = None
    ends_early: ClassVar[bool] = True

    tokens: int = whole(0, 0, 100_000, "first-hitting tokens")
    gammas: Mapping[int, Tensor] | None = field(default=None, repr=False, compare=False, kw_only=True)  # of one run

    def __call__(
        self, model: MGTModel, state: TokenState, *args, schedule: MaskSchedule, steps: int, **settings
    ) -> TokenState:
        """As any sampler's. A run's counts are of whole cells, too coarse for times: they have the schedule itself, at
        the end of every step [T] float64, by the number of cells that it is for."""
        ends, totals = torch.arange(1, steps + 1) / steps, state.to_fill.flatten(1).sum(1).tolist()
        gammas = {total: schedule.for_tokens(total).ratio(ends).double() for total in totals}
        of_run = super(FirstHitting, replace(self, gammas=gammas))
        return of_run.__call__(model, state, *args, schedule=schedule, steps=steps, **settings)

    def loop(self, run: Run) -> None:
        step = run.step(run.tokens, run.first)
        if hasattr(run.draws, "chooser"):
            run.draws = DrawnOnce(run.draws, step)
        order = run.draws.gumbel(step)
        plans = [gathered(steps, self.tokens) for steps in self.hitting_steps(run)]
        index = run.first
        for index in sorted(set().union(*plans)):
            counts = zip_longest(*(plan.get(index, ()) for plan in plans), fillvalue=0)
            for visit, revealed in enumerate(counts):
                drawn = run.draw(index, visit=visit)
                left = [before - own for before, own in zip(run.left, revealed, strict=True)]
                run.accept(run.keep(drawn, order, left))
        if index < run.steps - 1:  # a run ends with its last step, for those who watch
            none = torch.zeros_like(run.given)
            run.accept(Kept(run.steps - 1, run.tokens, run.left, none, run.confidence))

    def hitting_steps(self, run: Run) -> list[list[int]]:
        """Of each image: the step of every time, from the first to the last. All on the host."""
        found = []
        for generator, total, masked in zip(run.generators, run.totals, run.left, strict=True):
            uniform = torch.rand(run.cells, generator=generator, dtype=torch.float64)
            gamma = self.gammas[total]
            levels = hitting_levels(uniform[:masked]) * (gamma[run.first - 1] if run.first else 1)
            found.append(steps_of(levels, gamma).clamp_min(run.first).tolist())
        return found


class DrawnOnce:
    """Draws of a run in which every cell has one number of its own, whenever it is looked at: it is revealed once, so
    that how often others made the network look at it does not matter."""

    def __init__(self, draws: Draws, step: Step):
        self._draws = draws
        self._choose: Chooser = draws.chooser(step)

    def chooser(self, step: Step) -> Chooser:
        return self._choose

    def categorical(self, logits: Tensor, step: Step) -> Tensor:
        return self._choose(logits, step.positions)

    def gumbel(self, step: Step) -> Tensor:
        return self._draws.gumbel(step)


def hitting_levels(uniform: Tensor) -> Tensor:
    """The masked fractions [n] at which n cells are revealed one after the other, from all of them on: the order
    statistics of n even ones. uniform: [n] float64 in [0, 1)."""
    masked = torch.arange(len(uniform), 0, -1, dtype=torch.float64)
    return (torch.log1p(-uniform) / masked).cumsum(0).exp()


def steps_of(levels: Tensor, gamma: Tensor) -> Tensor:
    """In which step each of the fractions `levels` [n] is passed; gamma: [T] those at which the steps end."""
    return len(gamma) - torch.searchsorted(gamma.flip(0), levels, right=True)


def gathered(steps: Sequence[int], tokens: int) -> Evaluations:
    """The evaluations that reveal cells at these steps, which do not fall: `tokens` cells by each, or for 0 all of a
    step's."""
    if not tokens:
        return {step: [count] for step, count in Counter(steps).items()}
    found = defaultdict(list)
    for first in range(0, len(steps), tokens):
        found[steps[first]].append(len(steps[first : first + tokens]))
    return found
