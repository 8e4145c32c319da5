"""What samplers share whose number of steps follows the picture: a pace of which the schedule's is the slowest, what a
step's predictions say of every cell, and how a run of unknown length shows how far it is."""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import neg
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..placement import sent
from ..sampling.run import Run
from ..sampling.step import Drawn
from ..schedules.base import still_masked
from ..types import Callback, Step
from .base import ConfidenceSampler


class Watch(ABC):
    """Notes of every cell what the logits say that its token is drawn from: the last of a run's modifiers, which
    changes nothing. It sees some of a step's cells at a time.

    tables: what `of` names, [B, N] each; of cells that are not masked it is of no account.
    """

    def __init__(self):
        self.tables: dict[str, Tensor] = {}

    @abstractmethod
    def of(self, logits: Tensor, step: Step) -> dict[str, Tensor]:
        """[B, M] each, of logits [B, M, V] float32 of the cells `step.positions`."""

    def __call__(self, logits: Tensor, step: Step) -> Tensor:
        for name, values in self.of(logits, step).items():
            if name not in self.tables:
                self.tables[name] = values.new_zeros(len(values), step.cells)
            self.tables[name].scatter_(1, step.positions, values)
        return logits


W = TypeVar("W", bound=Watch)


@dataclass(frozen=True)
class Adaptive(ConfidenceSampler, Generic[W]):
    """A sampler that reveals as many cells of an image as its predictions allow, and never fewer than the schedule: the
    steps that a run asks for are the most that it takes, and it ends with the one that fills the last image.

    Step k is the k-th evaluation of every image, so that an image does not depend on its batch; one that is done waits
    for the others. How many cells are allowed is read from the device: one wait a step, which counts that depend on
    what was predicted cannot do without.
    """

    ends_early = True

    @abstractmethod
    def watch(self, run: Run) -> W:
        """A fresh one for one run."""

    @abstractmethod
    def judge(self, run: Run, drawn: Drawn, watch: W, noise: Tensor | float) -> tuple[Tensor, Tensor]:
        """In which order the masked cells are kept, the highest first, [B, N] float; and how many of each image may be,
        [B] long. noise: [B, N] for that order."""

    def loop(self, run: Run) -> None:
        watch = self.watch(run)
        run.modifiers.append(watch)
        if run.callback is not None:
            run.callback = Pace(run, run.callback)
        slowest = [begins(targets, count) for targets, count in zip(run.targets, run.totals, strict=True)]
        for index in run.indices:
            drawn = run.draw(index)
            order, allowed = self.judge(run, drawn, watch, noise(run, drawn, slowest))
            scheduled = run.left_after(index)
            left = [min(s, n - k) for s, n, k in zip(scheduled, run.left, allowed.tolist(), strict=True)]
            run.accept(run.keep(drawn, order, left))
            if not any(run.left):
                return


def begins(targets: Sequence[int], total: int) -> list[int]:
    """Masked cells at the beginning of every step of a run at the schedule's pace. targets: run.targets of an image."""
    masked = [total]
    for index, target in enumerate(targets[:-1]):
        masked.append(still_masked(target, masked[-1], len(targets) - 1 - index))
    return masked


def place(slowest: Sequence[int], masked: int) -> int:
    """The last step at whose beginning the schedule has no fewer cells masked."""
    return bisect_right(slowest, -masked, key=neg) - 1


def noise(run: Run, drawn: Drawn, slowest: Sequence[Sequence[int]]) -> Tensor | float:
    """[B, N] as `run.noise`, but of the temperature that an image has come to: that of the step at which the schedule
    has as many cells masked. At the schedule's own pace it is the step's. slowest: `begins` of every image."""
    index = drawn.step.index
    if index == run.steps - 1:
        return 0.0
    reached = (max(index, place(own, masked)) for own, masked in zip(slowest, run.left, strict=True))
    temperatures = torch.tensor([run.temperatures[step] for step in reached])
    return sent(temperatures[:, None], run.device) * run.draws.gumbel(drawn.step)


class Pace:
    """A run's callback, told of every step how many there will be if the slowest image goes on as it has so far.

    Those are more than are done while cells are masked, no more than the run was asked for, and with the last step as
    many as were made; and the share that is done never falls.
    """

    def __init__(self, run: Run, callback: Callback):
        self.run, self.callback = run, callback
        self.begun = tuple(run.left)
        self.done, self.total = run.first, run.steps

    def __call__(self, step: Step) -> None:
        done = step.index + 1
        expected = done + steps_to_come(self.begun, self.run.left, done - self.run.first)
        # So many more than before that as large a share of them is done.
        most = self.total * done // self.done if self.done else self.total
        self.done, self.total = done, max(min(expected, most, self.run.steps), done + any(self.run.left))
        self.callback(replace(step, total=self.total))


def steps_to_come(begun: Sequence[int], left: Sequence[int], made: int) -> float:
    """Steps until the slowest image is filled, of images that `made` steps took from `begun` masked cells to `left`;
    infinite where they filled none, as the last cell of an image, which waits for the last step."""

    def to_come(then: int, now: int) -> float:
        if not now:
            return 0
        return -(-made * now // (then - now)) if now < then else math.inf

    return max(map(to_come, begun, left))
