"""Particles: candidates that run together, of which those that promise more take the places of the others."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..interval import in_interval
from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.draws import cpu_generator
from ..sampling.run import Plan, Run
from ..sampling.step import Drawn, Kept
from ..settings import choice, number, share, whole
from ..types import TokenState
from .base import Sampler
from .steered import Judge, Steered, Task, View, derived_seed, rows_of, told_rewards

PICKS = ("best", "drawn")
# The log of all potentials up to now, of that before, the rewards now, the largest and the sum of them so far, all
# times lambda. At the end it is the reward of the finished picture, whichever of them led there.
POTENTIALS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "difference": lambda before, now, largest, total: now,
    "max": lambda before, now, largest, total: before + largest,
    "sum": lambda before, now, largest, total: before + total,
}


@SAMPLERS.register("particles")
@dataclass(frozen=True)
class Particles(Steered):
    """Sequential Monte Carlo over n runs of a sampler, which aims at p(x) exp(lambda r(x)), p being what the sampler
    draws: exactly so as n grows, whatever is scored on the way, where the picture is `drawn` by its weight.

    After every `every`-th step the picture that each particle would be, its masked cells filled with what the step has
    drawn for them, is decoded and scored; no evaluation more. With r_k its reward, the particle's weight is multiplied
    by the potential G_k = exp(lambda (r_k - r_(k-1))) ("difference"), exp(lambda max_(s <= k) r_s) ("max") or
    exp(lambda sum_(s <= k) r_s) ("sum"), and that of the finished picture by exp(lambda r) over the product of the
    potentials before: Feynman-Kac steering, arXiv 2501.06848, with the sampler itself as proposal, and for masked
    models arXiv 2505.22524, whose other proposals need gradients of the reward and are not here. Where the effective
    sample size 1 / sum w^2 of an image's weights lies below `threshold` n (1: always; the released code of the former
    has one half, or always), its particles are drawn anew by systematic resampling, those that stay keep their
    places, and all weigh the same. Weights that were not resampled by go on counting, which the released code forgets.

    weight: lambda, how much one unit of reward counts (10 there). start, end: share of the run in which it is scored,
    as for modifiers. pick: the particle of the highest reward, or one drawn by its weight.
    A particle that takes another's place takes its tokens and goes on with random numbers of its own; what modifiers
    remember of an image goes with it, and what patches remember is forgotten at every scored step, so that an image
    does not depend on its batch. Scoring waits for the device; no other step does.
    """

    interval_of = "particles"

    weight: float = number(10.0, 0, 10_000, "reward weight", kw_only=True)
    every: int = whole(2, 1, 100_000, "particles every", kw_only=True)
    threshold: float = share(1.0, "particles threshold", kw_only=True)
    potential: str = choice("difference", tuple(POTENTIALS), "particles potential", kw_only=True)
    pick: str = choice("best", PICKS, "particles pick", kw_only=True)
    start: float = share(0.0, kw_only=True)
    end: float = share(1.0, kw_only=True)

    @property
    def together(self) -> int:
        return self.n

    def scores_after(self, index: int, steps: int) -> bool:
        """Whether particles are scored between this step and the next."""
        inside = in_interval(self.start, self.end, index, steps)
        return inside and (index + 1) % self.every == 0 and index < steps - 1

    def steer(self, task: Task, judge: Judge, view: View) -> tuple[TokenState, str]:
        if type(self.sampler).__call__ is not Sampler.__call__:
            name = SAMPLERS.name_of(type(self.sampler))
            raise MGTError(
                f"particles were given the sampler {name}, whose runs are made in a way that they cannot follow; use "
                "best_of, which takes any sampler"
            )
        own = self.each_repeated(task.state.batch, self.n)
        run = ParticleRun(own, task, judge, view)
        own.loop(run)
        return run.chosen()


class ParticleRun(Run):
    """One run of all particles, image by image one below the other. Tables [B, n] are of the host."""

    def __init__(self, settings: Particles, task: Task, judge: Judge, view: View):
        wide, inner = task.wide(range(settings.n)), settings.sampler
        paced, temperatures = inner.paced(task.schedule), inner.temperatures(task.steps)
        drawn_at = inner.draw_temperatures(task.steps)
        plan = Plan(paced, task.steps, task.cfg, wide.seeds, temperatures, inner.draws, inner.keeps_logits, drawn_at)
        super().__init__(wide.model, wide.state, wide.positive, wide.negative, plan, view.begin(settings.n))
        self.settings, self.judge, self.view = settings, judge, view
        self.guess: tuple[Tensor, Tensor] | None = None  # [B n, N] ids drawn in this step, and their log-probabilities
        self.choosers = [cpu_generator(derived_seed(seed, "resampling")) for seed in task.seeds]
        shape = len(task.seeds), settings.n
        self.log_weight, self.potentials, self.total = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        self.largest = torch.full(shape, -torch.inf, dtype=torch.float64)
        self.moved = 0

    def draw(self, *args, **settings) -> Drawn:
        drawn = super().draw(*args, **settings)
        self.note(drawn)
        return drawn

    def keep(self, drawn: Drawn, *args, **settings) -> Kept:
        self.note(drawn)  # of samplers that draw without `draw`
        return super().keep(drawn, *args, **settings)

    def note(self, drawn: Drawn) -> None:
        """What was drawn for cells that may stay masked."""
        ids, log_probability = self.guess or (drawn.tokens, drawn.log_probability)
        new = drawn.cells & (drawn.tokens != self.model.mask_id)  # what a sampler masked already is no guess
        self.guess = torch.where(new, drawn.tokens, ids), torch.where(new, drawn.log_probability, log_probability)

    def accept(self, kept: Kept) -> None:
        super().accept(kept)
        if self.settings.scores_after(kept.index, self.steps) and any(self.left):
            rewards = self.scored()
            self.count(rewards, POTENTIALS[self.settings.potential])
            self.view.rows = best_rows(rewards)
            self.view.send()
            self.resample(rewards)
        self.guess = None

    def scored(self) -> Tensor:
        """[B, n] rewards of the pictures that the particles would be, or are."""
        masked = self.tokens == self.model.mask_id
        ids, log_probability = self.guess or (self.tokens, self.confidence)
        tokens = torch.where(masked, ids, self.tokens)
        sureness = torch.where(masked, log_probability, self.confidence).mean(1)
        blank = (tokens == self.model.mask_id).sum(1)
        *_, sureness = known = torch.stack([masked.sum(1).float(), blank.float(), sureness]).cpu()  # one wait
        if known[0].tolist() != self.left or bool(known[1].any()):
            name = SAMPLERS.name_of(type(self.settings.sampler))
            raise MGTError(
                f"the sampler {name} draws or counts its cells in a way that particles cannot follow: use best_of"
            )
        shape = self.log_weight.shape
        of = [image for image in range(shape[0]) for _ in range(shape[1])]
        return self.judge(tokens.unflatten(1, self.grid), sureness, of).view(shape)

    def count(self, rewards: Tensor, potential: Callable[..., Tensor]) -> None:
        """Rewards [B, n] into the weights."""
        now = self.settings.weight * rewards
        self.largest, self.total = torch.maximum(self.largest, now), self.total + now
        after = potential(self.potentials, now, self.largest, self.total)
        self.log_weight, self.potentials = self.log_weight + after - self.potentials, after

    def resample(self, rewards: Tensor) -> None:
        weights, n = self.log_weight.softmax(1), self.settings.n
        size = 1 / weights.square().sum(1)
        parents = torch.arange(n).repeat(len(weights), 1)
        for image in (size < self.settings.threshold * n * (1 - 1e-9)).nonzero()[:, 0].tolist():
            parents[image] = systematic(weights[image], self.choosers[image])
            self.log_weight[image] = 0.0
        self.moved += int((parents != torch.arange(n)).sum())
        for name in ("potentials", "largest", "total"):
            setattr(self, name, getattr(self, name).gather(1, parents))
        self.view.rows = best_rows(rewards.gather(1, parents))
        self.take((parents + n * torch.arange(len(parents))[:, None]).flatten())

    def take(self, rows: Tensor) -> None:
        """Every particle goes on from another's state, `rows` [B n]."""
        self.left = [self.left[row] for row in rows.tolist()]
        rows = sent(rows, self.device)
        for name in ("tokens", "revealed_at", "confidence"):
            setattr(self, name, getattr(self, name)[rows])
        for memory in self.modifiers:
            follow(memory, rows)
        fresh = self.model.run_patches()
        self.network.patches[: len(fresh)] = fresh
        for patch in fresh:
            patch.started(self)

    def chosen(self) -> tuple[TokenState, str]:
        """The picture that is kept of every image, and what to say of it."""
        rewards = self.scored()
        self.count(rewards, POTENTIALS["difference"])
        if self.settings.pick == "best":
            self.view.rows = best_rows(rewards)
        else:
            n, weights = self.settings.n, self.log_weight.softmax(1)
            picks = [drawn_by(own, generator) for own, generator in zip(weights, self.choosers, strict=True)]
            self.view.rows = [image * n + pick for image, pick in enumerate(picks)]
        state = rows_of(self.finish(), torch.tensor(self.view.rows))
        kept = told_rewards(rewards.flatten()[self.view.rows].tolist())
        how = "the best" if self.settings.pick == "best" else "one"
        return state, f"reward {kept}: {how} of {self.settings.n} particles, of which {self.moved} took another's place"


def best_rows(rewards: Tensor) -> list[int]:
    """The first of the highest reward of every image, among all particles."""
    return (torch.arange(len(rewards)) * rewards.shape[1] + rewards.argmax(1)).tolist()


def drawn_by(weights: Tensor, generator: torch.Generator) -> int:
    """A place of weights [n] that sum to 1."""
    u = torch.rand((), generator=generator, dtype=torch.float64)
    return min(int((weights.cumsum(0) <= u).sum()), len(weights) - 1)


def systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    """[n] whose place each particle takes, for weights [n] that sum to 1: particle i goes on in n w_i places, rounded
    down or up, on average exactly, by one number drawn (Carpenter, Clifford and Fearnhead 1999). Where it goes on at
    all, one of them is its own."""
    n = len(weights)
    u = torch.rand((), generator=generator, dtype=torch.float64)
    below = (n * weights.cumsum(0) - u).ceil().long().clamp(0, n)  # of the points u, u + 1, ..., in parts of the whole
    below[-1] = n
    counts = below.diff(prepend=below.new_zeros(1)).tolist()
    others = iter([i for i, count in enumerate(counts) for _ in range(count - 1)])
    return torch.tensor([i if count else next(others) for i, count in enumerate(counts)])


def follow(memory: object, rows: Tensor) -> None:
    """Has what a modifier remembers of every image, tensors [B, ...] that are its attributes or lie in dicts that are,
    follow its particle."""
    held = getattr(memory, "__dict__", {})
    for table in [held, *(value for value in held.values() if isinstance(value, dict))]:
        moved = {n: v[rows] for n, v in table.items() if isinstance(v, Tensor) and v.shape[:1] == rows.shape}
        table.update(moved)
