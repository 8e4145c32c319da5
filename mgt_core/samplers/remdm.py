"""ReMDM: known cells are masked again by chance at every step, and drawn anew."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import MGTError
from ..interval import in_interval
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..schedules.base import MaskSchedule
from ..settings import choice, share
from .base import ConfidenceSampler

CHANCE, SUREST = "chance", "surest"
RANDOM, SCHEDULE = "random", "schedule"
AS_SCHEDULED, LOOP = "schedule", "loop"
POINTS = 2**12  # of a schedule, among which the place of a loop is looked for


@dataclass(frozen=True)
class Strategy:
    """sigma: (eta, sigma_max, known cells) -> chance that a known cell is masked again, in the mean. weighed: whether
    cells count by softmax(-psi), psi the probability that a token was drawn with. paid_back: whether as many more are
    revealed, so that the schedule holds."""

    sigma: Callable[[float, float, int], float]
    weighed: bool = False
    paid_back: bool = True


STRATEGIES = {
    "rescale": Strategy(lambda eta, most, known: eta * most),
    "cap": Strategy(lambda eta, most, known: min(eta, most)),
    # softmax(-psi) sums to 1: one cell a step, at the most, as released.
    "conf": Strategy(lambda eta, most, known: eta * most / max(known, 1), weighed=True, paid_back=False),
    "rescale_conf": Strategy(lambda eta, most, known: eta * most, weighed=True),
}


@SAMPLERS.register("remdm")
@dataclass(frozen=True)
class ReMDM(ConfidenceSampler):
    """Remasking diffusion, arXiv 2503.00307, section 4. From alpha_t to alpha_s known, alpha 1 - gamma in whole cells,
    each known cell is masked again with the chance sigma, and each masked one revealed with the chance
    (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t): the share of known cells stays that of the schedule. sigma may be
    at most sigma_max = min(1, (1 - alpha_s) / alpha_t). Given cells stay.

    strategy: "rescale", eta sigma_max; "cap", min(eta, sigma_max); "conf", eta sigma_max softmax(-psi) with psi the
    probabilities that the tokens were drawn with; "rescale_conf", as many cells as rescale, weighed like conf.
    start, end: share of the run in which it acts. pace: the "schedule"'s, or a "loop": between start and end the share
    of known cells stays at `loop_known`, and the schedule takes the time before and after. The paper's times count
    down: start is 1 - t_on (or 1 - t_switch), end 1 - t_off, loop_known alpha(t_on).
    reveal: which masked cells: "chance", as published, or "surest", as MaskGIT with its temperature. counts: "random",
    drawn from the binomial laws, as published (conf's as if all psi were equal), one cell at least being left for the
    last step; or "schedule", what it leaves masked, and sigma times the known cells masked again, fractions of a cell
    put off to later steps. With eta 0 these two are then MaskGIT's.
    """

    takes_back = True
    interval_of = "remasking"
    neutral = {"eta": 0.0, "reveal": SUREST, "counts": SCHEDULE}

    strategy: str = choice("rescale", tuple(STRATEGIES))
    eta: float = share(0.2)
    pace: str = choice(AS_SCHEDULED, (AS_SCHEDULED, LOOP))
    loop_known: float = share(0.9, "known share of the loop")
    reveal: str = choice(CHANCE, (CHANCE, SUREST))
    counts: str = choice(RANDOM, (RANDOM, SCHEDULE))
    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.pace == LOOP and not (0 < self.start and self.end < 1):
            raise MGTError(
                f"the loop starts at {self.start:g} and ends at {self.end:g}; it needs a part of the run before and "
                "one after it (0.45 to 0.95 as published)"
            )

    def paced(self, schedule: MaskSchedule) -> MaskSchedule:
        return Looped(schedule, self.start, self.end, self.loop_known) if self.pace == LOOP else schedule

    def loop(self, run: Run) -> None:
        due = [0.0] * len(run.left)  # parts of a cell
        for index in run.indices:
            drawn = run.draw(index)
            if index == run.steps - 1:
                run.accept(run.keep(drawn, drawn.log_probability))
                break
            waiting, again = self.numbers(run, index, due)
            noise = run.draws.gumbel(drawn.step)
            order = drawn.log_probability + run.temperatures[index] * noise if self.reveal == SUREST else noise
            kept = run.keep(drawn, order, left=waiting)
            weighed = STRATEGIES[self.strategy].weighed
            taken = run.keep(
                replace(drawn, tokens=kept.tokens),
                run.confidence.exp() - noise if weighed else noise,
                left=again,
                among=~(drawn.cells | run.given),
            )
            left = [a + b for a, b in zip(waiting, again, strict=True)]
            run.accept(replace(kept, tokens=taken.tokens, left=left))

    def numbers(self, run: Run, index: int, due: list[float]) -> tuple[Sequence[int], Sequence[int]]:
        """Of each image the masked cells that wait, and the known ones to be masked again; known to the host. due:
        parts of a cell that are to be masked again, by image."""
        if self.counts == SCHEDULE and not self.eta:
            return run.left_after(index), [0] * len(due)
        law = self.by_chance if self.counts == RANDOM else self.by_schedule
        return tuple(zip(*(law(run, index, image, due) for image in range(len(due))), strict=True))

    def by_chance(self, run: Run, index: int, image: int, due: list[float]) -> tuple[int, int]:
        total, left, targets, generator = run.totals[image], run.left[image], run.targets[image], run.generators[image]
        before = targets[index - 1] if index else total
        sigma, paid = self.sigma(run, index, targets[index], total - before)
        revealed = (before - targets[index] + paid * (total - before)) / before if before else 1.0
        again = binomial(total - left, sigma, run.cells, generator)
        waiting = left - binomial(left, revealed, run.cells, generator)
        return (waiting, again) if waiting + again else (min(1, left), 0)

    def by_schedule(self, run: Run, index: int, image: int, due: list[float]) -> tuple[int, int]:
        left, known = run.left[image], run.totals[image] - run.left[image]
        target = min(max(run.targets[image][index], 1), left)
        due[image] += self.sigma(run, index, target, known)[0] * known
        again = min(math.floor(due[image] + 1e-9), target)
        due[image] -= again
        return target - again, again

    def sigma(self, run: Run, index: int, masked: int, known: int) -> tuple[float, float]:
        """Chance of each of `known` cells to be masked again, where `masked` are to be at the end of the step, and how
        much of it is paid back."""
        strategy = STRATEGIES[self.strategy]
        most = min(1.0, masked / known) if known else 1.0
        acts = in_interval(self.start, self.end, index, run.steps)
        sigma = strategy.sigma(self.eta, most, known) if acts else 0.0
        return sigma, sigma if strategy.paid_back else 0.0


def binomial(count: int, chance: float, most: int, generator: torch.Generator) -> int:
    """How many of `count` cells, each with that chance; `most` numbers are drawn, whatever the count."""
    return (torch.rand(most, generator=generator, dtype=torch.float64)[:count] < chance).tolist().count(True)


@dataclass(frozen=True)
class Looped(MaskSchedule):
    """`schedule` up to the share `known` of known cells, in the time before `start` (above 0), that share until `end`
    (below 1), then the rest of it. With the linear one as in the released code of arXiv 2503.00307."""

    listed = False

    schedule: MaskSchedule
    start: float
    end: float
    known: float

    def formula(self, progress: Tensor) -> Tensor:
        ways = torch.linspace(0, 1, POINTS + 1)
        there = ways[(self.schedule.ratio(ways) > 1 - self.known).sum().clamp_max(POINTS)]
        before = progress / self.start * there
        after = 1 - (1 - progress) / (1 - self.end) * (1 - there)
        masked = self.schedule.ratio(torch.where(progress < self.start, before, after).clamp(0, 1))
        return torch.where((progress < self.start) | (progress > self.end), masked, 1 - self.known)

    def for_tokens(self, total: int) -> MaskSchedule:
        return replace(self, schedule=self.schedule.for_tokens(total))
