"""Several candidates for every picture, and a reward that says which one is kept: what such samplers share."""

import hashlib
import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..conditioning.parts import ConditionInput, Conditions
from ..errors import MGTError, join_some
from ..model import MGTModel
from ..placement import sent
from ..recommended import recommended
from ..registry import REWARDS, SAMPLERS
from ..rewards.base import Reward
from ..sampling.draws import GeneratorDraws
from ..sampling.run import Run
from ..schedules.base import MaskSchedule
from ..settings import hold, whole
from ..types import PICTURES, Callback, Condition, Step, TokenState, check_makes
from .base import Sampler

log = logging.getLogger(__name__)

MOST = 1024  # candidates of a picture
PER_IMAGE = ("tokens", "fixed", "revealed_at", "confidence")  # of a state


def derived_seed(seed: int, what: object) -> int:
    """A seed of its own for `what` of the image that has `seed`: 32 bits of a hash of the two, which generators are
    seeded with quickly."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{what}".encode(), digest_size=4).digest(), "big")


def candidate_seed(seed: int, candidate: int, inside: int = 0) -> int:
    """The image's own for its first candidate, which is the picture that it gets without a reward. inside: how many
    samplers with candidates of their own make it, whose seeds are others."""
    what = f"candidate {candidate}" + " of candidates" * inside
    return derived_seed(seed, what) if candidate else seed


def rows_of(state: TokenState, rows: Tensor | slice) -> TokenState:
    """Some of its images, or some several times."""
    if isinstance(rows, Tensor):
        rows = sent(rows, state.tokens.device)
    return replace(state, **{n: value[rows] for n in PER_IMAGE if (value := getattr(state, n)) is not None})


def joined(first: TokenState, second: TokenState) -> TokenState:
    """The images of both, finished ones."""
    return replace(first, **{n: torch.cat([getattr(first, n), getattr(second, n)]) for n in PER_IMAGE})


def each_repeated(given: ConditionInput | None, times: int) -> ConditionInput | None:
    """A complete condition with every image so many times, one below the other."""
    if given is None:
        return None
    if isinstance(given, Conditions):
        parts = (replace(p, condition=each_repeated(p.condition, times), weight=p.weight) for p in given.parts)
        return Conditions(tuple(replace(part, weight=table_repeated(part.weight, times)) for part in parts))
    held = {f.name: value for f in fields(given) if (value := getattr(given, f.name)) is not None}
    return Condition(**{name: value.repeat_interleave(times, 0) for name, value in held.items()})


def table_repeated(weight: float | Tensor, times: int) -> float | Tensor:
    """Weights of cells [1 or B, h, w]; those that hold for all images as they are."""
    own = isinstance(weight, Tensor) and weight.ndim and weight.shape[0] > 1
    return weight.repeat_interleave(times, 0) if own else weight


@dataclass(frozen=True)
class Steered(Sampler):
    """Settings of a sampler that makes n candidates for every picture and returns one of them.

    sampler: that makes them, by default the one that the model recommends; a registered name will do. reward: of
    decoded pictures, by the codec of the model. Without one the model's own sureness counts: the mean over the cells
    of the log-probability that their tokens were drawn with, for which nothing is decoded.
    """

    takes_back = True  # what is shown may change from one candidate to another
    neutral = {"n": 1}

    n: int = whole(4, 1, MOST)
    sampler: Sampler | str | None = None
    reward: Reward | str | None = None

    def __post_init__(self):
        super().__post_init__()
        hold(self, sampler=part_from(self.sampler, SAMPLERS, Sampler, "sampler"))
        hold(self, reward=part_from(self.reward, REWARDS, Reward, "reward"))

    def fitted(self, own: Mapping[str, Any]) -> "Steered":
        inner = SAMPLERS.get(own["sampler"])(**own["sampler_settings"]) if self.sampler is None else self.sampler
        if self.draws is not GeneratorDraws:
            inner = replace(inner, draws=self.draws)
        return replace(self, sampler=inner.fitted(own))

    @property
    def levels(self) -> int:
        """How many samplers with candidates there are, one within the other, this one included."""
        return 1 + (self.sampler.levels if isinstance(self.sampler, Steered) else 0)

    @property
    def together(self) -> int:
        """Candidates of a picture that always run at once."""
        return self.sampler.together if isinstance(self.sampler, Steered) else 1

    @property
    def recommends(self) -> Mapping[str, Any]:
        return {} if self.sampler is None else self.sampler.recommends

    @property
    def guidances(self) -> tuple[float, ...]:
        return () if self.sampler is None else self.sampler.guidances

    @property
    def keeps_logits(self) -> bool:
        return self.sampler is not None and self.sampler.keeps_logits

    def steps_made(self, steps: int) -> int:
        return steps if self.sampler is None else self.sampler.steps_made(steps)

    def temperatures(self, steps: int) -> list[float]:
        return [0.0] * steps if self.sampler is None else self.sampler.temperatures(steps)

    def draw_temperatures(self, steps: int) -> list[float]:
        return [1.0] * steps if self.sampler is None else self.sampler.draw_temperatures(steps)

    def paced(self, schedule: MaskSchedule) -> MaskSchedule:
        return schedule if self.sampler is None else self.sampler.paced(schedule)

    def each_repeated(self, images: int, times: int) -> "Steered":
        return self if self.sampler is None else replace(self, sampler=self.sampler.each_repeated(images, times))

    def loop(self, run: Run) -> None:
        """Of its candidates, all of which are in `run`."""
        self.sampler.loop(run)

    @torch.inference_mode()
    def __call__(
        self,
        model: MGTModel,
        state: TokenState,
        positive: ConditionInput | None,
        negative: ConditionInput | None,
        *,
        schedule: MaskSchedule,
        steps: int,
        cfg: float,
        seeds: Sequence[int],
        callback: Callback | None = None,
    ) -> TokenState:
        steered = self.fitted(recommended(model))
        task = Task(model, state, positive, negative, schedule, steps, cfg, tuple(seeds))
        if self.n == 1:
            return task.run(steered.sampler, callback)
        judge, view = Judge(model, self.reward), View(callback, state.batch)
        chosen, told = steered.steer(task, judge, view)
        log.info("%s; %s", told, judge.cost())
        view.send(told)
        return chosen

    def cut(self, model: MGTModel, state: TokenState) -> TokenState:
        return self.fitted(recommended(model)).sampler.cut(model, state)

    @abstractmethod
    def steer(self, task: "Task", judge: "Judge", view: "View") -> tuple[TokenState, str]:
        """The picture that is kept for every image, and what to say of it. Raises MGTError where it cannot."""


def part_from(given: Any, registry, kind: type, what: str) -> Any:
    """A part, by its registered name too, or None. Raises MGTError for anything else."""
    given = registry.get(given)() if isinstance(given, str) else given
    if given is not None and not isinstance(given, kind):
        raise MGTError(
            f"{what} is {given!r}; expected a {what}, such as {join_some(registry.names()) or 'one of a node'}"
        )
    return given


@dataclass(frozen=True)
class Task:
    """What a sampler is called with."""

    model: MGTModel
    state: TokenState
    positive: ConditionInput | None
    negative: ConditionInput | None
    schedule: MaskSchedule
    steps: int
    cfg: float
    seeds: tuple[int, ...]

    def wide(self, candidates: Sequence[int], inside: int = 0) -> "Task":
        """With these candidates of every image, one below the other. inside: as for their seeds."""
        count = len(candidates)
        rows = torch.arange(self.state.batch).repeat_interleave(count)
        return replace(
            self,
            model=self.model.each_repeated(self.state.batch, count),
            state=rows_of(self.state, rows),
            positive=each_repeated(self.positive, count),
            negative=each_repeated(self.negative, count),
            seeds=tuple(candidate_seed(seed, j, inside) for seed in self.seeds for j in candidates),
        )

    def run(self, sampler: Sampler, callback: Callback | None) -> TokenState:
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        given = [settings.pop(name) for name in ("model", "state", "positive", "negative")]
        return sampler(*given, **settings, callback=callback)


class Judge:
    """Scores candidates, and counts what that costs."""

    def __init__(self, model: MGTModel, reward: Reward | None):
        if reward is not None and model.codec is None:
            raise MGTError(
                "steering by a reward decodes pictures, and this model has no codec with it: take one that was loaded "
                "with its codec"
            )
        if reward is not None:
            check_makes(PICTURES, "steering by a reward", model=model)
        self.codec, self.reward = model.codec, reward
        self.scored, self.seconds = 0, 0.0

    def __call__(self, tokens: Tensor, sureness: Tensor, images: Sequence[int]) -> Tensor:
        """[n] float64 on the CPU, of finished grids [n, h, w] and the mean log-probability of their cells [n].

        images: for which image of the batch each is a candidate. Raises MGTError for rewards that are no numbers."""
        started = time.monotonic()
        found = sureness if self.reward is None else self.reward.score(self.codec.decode(tokens), images)
        try:
            values = torch.as_tensor(found).detach().cpu().double()
        except (TypeError, ValueError, RuntimeError):
            raise MGTError(f"the reward gave {found!r}; expected a tensor with a number for each picture") from None
        if values.shape != (len(tokens),) or not bool(values.isfinite().all()):
            held = f"shape {list(values.shape)}" if values.shape != (len(tokens),) else join_some(values.tolist())
            raise MGTError(f"the reward gave {held} for {len(tokens)} pictures; expected a finite number for each")
        self.scored += len(tokens)
        self.seconds += time.monotonic() - started
        return values

    def cost(self) -> str:
        """Scores that were waited for include what the device had still to compute."""
        return f"{self.scored} pictures scored in {self.seconds:.2f} s"


class View:
    """What a callback sees of candidates: of every image one, the best that is known, and the calls of them all.

    A step is handed on when the next one has come, or the run is over and it is known which picture is kept.
    rows: of the images of a step, the one to show of each. best: finished pictures to show instead. runs: how many
    there are, one after the other.
    """

    def __init__(self, callback: Callback | None, batch: int):
        self.callback, self.batch = callback, batch
        self.runs, self.run = 1, -1
        self.best: TokenState | None = None
        self.pending: Step | None = None
        self.before = self.counted = (0, 0)  # calls and passes of the runs that are over, and those handed on
        self.over = self.done = 0  # steps likewise; a run may end early

    def begin(self, size: int) -> Callback | None:
        """For a run of so many candidates of every image."""
        self.send()
        self.run, self.before, self.over = self.run + 1, self.counted, self.done
        self.size, self.rows = size, [image * size for image in range(self.batch)]
        return None if self.callback is None else self.see

    def see(self, step: Step) -> None:
        self.send()
        self.pending = step

    def send(self, note: str = "") -> None:
        """Hands on what waits."""
        step, self.pending = self.pending, None
        if step is None:
            return
        calls, passes = (
            held + self.size * own for held, own in zip(self.before, (step.calls, step.passes), strict=True)
        )
        self.counted = calls, passes
        index, total = self.over + step.index, self.over + (self.runs - self.run) * step.total
        self.done = index + 1
        chosen = torch.tensor(self.rows)

        def outcome() -> TokenState:
            return rows_of(step.result, chosen)

        self.callback(
            replace(
                step,
                index=index,
                total=total,
                tokens=step.tokens[sent(chosen, step.tokens.device)],
                generators=tuple(step.generators[row] for row in chosen.tolist()),
                seeds=tuple(step.seeds[row] for row in chosen.tolist()),
                calls=calls,
                passes=passes,
                outcome=outcome if self.best is None else partial(rows_of, self.best, slice(None)),
                note=note,
            )
        )


def told_rewards(values: Sequence[float]) -> str:
    """Of the first few images."""
    return join_some([f"{value:.4g}" for value in values], 4)
