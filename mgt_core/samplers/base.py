"""What samplers share: one signature, a temperature, a source of draws, a Run to loop over."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from ..conditioning.parts import ConditionInput
from ..model import MGTModel
from ..recommended import FALLBACK, recommended
from ..sampling.draws import GeneratorDraws
from ..sampling.run import DrawSource, Plan, Run
from ..sampling.step import Drawn, Kept
from ..schedules.base import MaskSchedule
from ..settings import Settings, choice, hold
from ..types import Callback, TokenState
from .temperature import RECOMMENDED, SAME, TEMPERATURE_SHAPES, Ends, draw_temperature, temperature_range


@dataclass(frozen=True)
class Sampler(Settings, ABC):
    """Settings of a sampler; a subclass adds its own and writes `loop`. With its neutral settings, if it has any, it
    draws what MaskGIT draws.

    takes_back: whether it may mask again what an earlier step revealed. ends_early: whether a run may take fewer steps
    than it asks for, as the picture decides. recommends: settings that go with it rather
    than with the weights, by the names of recommended.py. draws: source of random numbers, for tests
    that feed recorded ones.
    """

    takes_back: ClassVar[bool] = False
    ends_early: ClassVar[bool] = False
    recommends: ClassVar[Mapping[str, Any]] = {}

    draws: DrawSource = field(default=GeneratorDraws, repr=False, kw_only=True)

    def fitted(self, own: Mapping[str, Any]) -> "Sampler":
        """With what it leaves open as a model recommends: `own`, by the names of recommended.py."""
        return self

    def temperatures(self, steps: int) -> list[float]:
        """Temperature of the confidence noise at every step, of a sampler that is fitted."""
        return [0.0] * steps

    def draw_temperatures(self, steps: int) -> list[float]:
        """Temperature that ids are drawn at, of the same: 1 draws as the model predicts, 0 the likeliest."""
        return [1.0] * steps

    @property
    def guidances(self) -> tuple[float, ...]:
        """Guidance values it uses beside the run's own."""
        return ()

    @property
    def keeps_logits(self) -> bool:
        """Whether it needs a step's logits as one table."""
        return False

    def steps_made(self, steps: int) -> int:
        """How many steps a run takes that asks for `steps`."""
        return steps

    def paced(self, schedule: MaskSchedule) -> MaskSchedule:
        """The schedule of a run that asks for `schedule`."""
        return schedule

    def cut(self, model: MGTModel, state: TokenState) -> TokenState:
        """What is filled of a grid that a model fills in stages; told once, before the first of them."""
        return state

    @abstractmethod
    def loop(self, run: Run) -> None:
        """Take `run` from its first step to its last."""

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
        """Fill the masked cells of `state`; `mgt_core.sample` checks the arguments first."""
        sampler = self.fitted(recommended(model))
        paced, temperatures = sampler.paced(schedule), sampler.temperatures(steps)
        drawn_at = sampler.draw_temperatures(steps)
        plan = Plan(paced, steps, cfg, seeds, temperatures, sampler.draws, sampler.keeps_logits, drawn_at)
        run = Run(model, state, positive, negative, plan, callback)
        sampler.loop(run)
        return run.finish()


@dataclass(frozen=True)
class ConfidenceSampler(Sampler):
    """A sampler that keeps the tokens it is surest of.

    temperature: of the confidence noise, first and last step (2 to 0 in Meissonic's pipelines);
    confidence is log p[token] + temperature * Gumbel. temperature_shape: between them, "linear" as
    published, "cosine", "early" or "late" (most of the change in the first or the last steps), or "compounding",
    the law of the released MaskGIT codes, whose first step lies below the first temperature already.
    draw_temperature: of the draw itself, from softmax(logits / temperature), where the confidence stays that of the
    plain logits: 1 draws as the model predicts, 0 the likeliest ids, "same" at each step with the temperature of the
    confidence noise (Lumina-DiMOO, arXiv 2510.06308, as released).
    None and "recommended" are as the model recommends.
    """

    temperature: float | Ends | None = None
    temperature_shape: str = choice(RECOMMENDED, (RECOMMENDED, *TEMPERATURE_SHAPES), kw_only=True)
    draw_temperature: float | str | None = field(default=None, kw_only=True)

    def __post_init__(self):
        hold(self, temperature=temperature_range(self.temperature))
        if self.draw_temperature is not None:
            hold(self, draw_temperature=draw_temperature(self.draw_temperature))
        super().__post_init__()

    def fitted(self, own: Mapping[str, Any]) -> "ConfidenceSampler":
        ends = zip(self.temperature, temperature_range(own["temperature"]), strict=True)
        shape = own["temperature_shape"] if self.temperature_shape == RECOMMENDED else self.temperature_shape
        temperature = tuple(theirs if end is None else end for end, theirs in ends)
        drawn = own["draw_temperature"] if self.draw_temperature is None else self.draw_temperature
        return replace(self, temperature=temperature, temperature_shape=shape, draw_temperature=drawn)

    def surest(self, run: Run, drawn: Drawn) -> Kept:
        """The end of a step that keeps the tokens it is surest of."""
        return run.keep(drawn, drawn.log_probability + run.noise(drawn))

    def temperatures(self, steps: int) -> list[float]:
        first, last = self.temperature
        if None in self.temperature or self.temperature_shape == RECOMMENDED:
            return self.fitted(FALLBACK).temperatures(steps)
        if self.temperature_shape == "linear":
            return torch.linspace(first, last, steps).tolist()  # float32, as the published schedulers have it
        shape = TEMPERATURE_SHAPES[self.temperature_shape]
        return [first + (last - first) * shape(k, steps) for k in range(steps)]

    def draw_temperatures(self, steps: int) -> list[float]:
        if self.draw_temperature == SAME:
            return self.temperatures(steps)
        return [FALLBACK["draw_temperature"] if self.draw_temperature is None else self.draw_temperature] * steps
