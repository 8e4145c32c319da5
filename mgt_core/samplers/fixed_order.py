"""Sampling in an order that is known beforehand: Halton, random, raster."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import finite_number, several
from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..schedules.base import MaskSchedule
from ..schedules.closed_form import Arccos
from ..settings import choice, hold, number, whole
from ..types import Step
from .base import Sampler
from .orders import ORDERS

COUNTS = ("arccos", "schedule")
SHARPNESS = (0.01, 100)  # the factors that it takes


def arccos_targets(steps: int, total: int) -> list[int]:
    """Cells still masked after each step: floor(N (1 - 2 arccos((k + 1) / T) / pi)) are revealed by then."""
    shares = (1 - math.acos((index + 1) / steps) / (math.pi / 2) for index in range(steps))
    return [total - int(share * total) for share in shares]


class Revealed(Arccos):
    """The arccos law as published: what is rounded down is the number of cells revealed."""

    def targets(self, steps: int, total: int) -> list[int]:
        return arccos_targets(steps, total)


@SAMPLERS.register("halton")
@dataclass(frozen=True)
class FixedOrder(Sampler):
    """Cells are revealed in a fixed order, spread evenly for "halton" (arXiv 2503.17076), and keep what is drawn
    first: no confidence, so no temperature of it. Given cells are passed over.

    order: a registered one. roll: start at a random place of it, for every image another. counts: how many cells
    a step reveals: "arccos", as published, or "schedule", the run's own. sharpness: factor on the logits, first
    and last step, raised to `power` (1 changes nothing); the first `warmup` steps take half of it.
    """

    neutral = None

    order: str = "halton"
    roll: bool = False
    counts: str = choice("arccos", COUNTS)
    sharpness: tuple[float, float] = (1.0, 1.0)
    power: float = number(1.0, 0, 10, "sharpness power")
    warmup: int = whole(0, 0, 100_000)

    def __post_init__(self):
        ORDERS.get(self.order)
        super().__post_init__()
        ends = several("sharpness", self.sharpness, "two numbers, of the first and the last step", 2)
        hold(self, sharpness=tuple(finite_number("sharpness", value, *SHARPNESS) for value in ends))

    def factors(self, steps: int) -> list[float]:
        """On the logits of every step."""
        line = torch.linspace(*self.sharpness, steps) ** self.power
        return [f / 2 if index < self.warmup else f for index, f in enumerate(line.tolist())]

    def ranks(self, grid: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """[B, N] the place of every cell in its image's order."""
        return torch.stack([self.places(grid, generator).argsort() for generator in generators])

    def places(self, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
        """[N] the cells of one image in order."""
        order = ORDERS.get(self.order)(grid, generator)
        return order.roll(int(torch.randint(len(order), (), generator=generator))) if self.roll else order

    def paced(self, schedule: MaskSchedule) -> MaskSchedule:
        return Revealed() if self.counts == "arccos" else schedule

    def loop(self, run: Run) -> None:
        # Before the attached modifiers, where the published sampler has it.
        run.modifiers.insert(0, self.sharpened(run.steps))
        ranks = sent(self.ranks(run.grid, run.generators), run.device)
        for index in run.indices:
            drawn = run.draw(index)
            run.accept(run.keep(drawn, -ranks.float()))

    def sharpened(self, steps: int) -> Callable[[Tensor, Step], Tensor]:
        factors = self.factors(steps)
        return lambda logits, step: logits if factors[step.index] == 1 else logits * factors[step.index]
