"""Vanilla parallel decoding of MaskGIT."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..draws import GeneratorDraws
from ..errors import MGTError
from ..model import MGTModel
from ..registry import SAMPLERS
from ..sampling import DrawSource, Run, finite_number
from ..schedules import MaskSchedule
from ..types import Callback, Condition, TokenState


def temperature_range(value: float | Sequence[float]) -> tuple[float, float]:
    """(first, last) step temperature; one number t means (t, 0.01), as in Meissonic's scheduler.

    Raises MGTError for anything but one or two numbers of 0 or more.
    """
    ends = tuple(value) if isinstance(value, (tuple, list)) else (value, 0.01)
    if len(ends) != 2:
        raise MGTError(f"temperature is {value!r}; expected one number or two (first step, last step)")
    for end in ends:
        finite_number("temperature", end, 0, 1000)
    return float(ends[0]), float(ends[1])


@SAMPLERS.register("maskgit")
@dataclass(frozen=True)
class MaskGIT:
    """At every step draw all masked cells, keep the surest, mask the rest again.

    MaskGIT, arXiv 2202.04200, section 3.2. Confidence is log p[token] + temperature * Gumbel.
    temperature: first and last step, linear between (2 to 0 in Meissonic's pipelines).
    draws: source of random numbers, for tests that feed recorded ones.
    """

    temperature: float | tuple[float, float] = (2.0, 0.0)
    draws: DrawSource = field(default=GeneratorDraws, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "temperature", temperature_range(self.temperature))

    @torch.inference_mode()
    def __call__(
        self,
        model: MGTModel,
        state: TokenState,
        positive: Condition | None,
        negative: Condition | None,
        *,
        schedule: MaskSchedule,
        steps: int,
        cfg: float,
        seeds: Sequence[int],
        callback: Callback | None = None,
    ) -> TokenState:
        run = Run(
            model,
            state,
            positive,
            negative,
            schedule=schedule,
            steps=steps,
            cfg=cfg,
            seeds=seeds,
            temperature=self.temperature,
            callback=callback,
            draws=self.draws,
        )
        for index in range(steps):
            run.accept(run.forward(run.tokens, index), index)
        return run.finish()
