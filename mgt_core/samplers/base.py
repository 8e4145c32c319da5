"""What samplers share: one signature, a temperature range, a source of draws, a Run to loop over."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..draws import GeneratorDraws
from ..errors import MGTError, finite_number
from ..model import MGTModel
from ..sampling import DrawSource, Run
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


@dataclass(frozen=True)
class Sampler(ABC):
    """Settings of a sampler; a subclass adds its own and writes `loop`.

    temperature: of the confidence noise, first and last step, linear between (2 to 0 in Meissonic's
    pipelines); confidence is log p[token] + temperature * Gumbel.
    draws: source of random numbers, for tests that feed recorded ones.
    """

    temperature: float | tuple[float, float] = (2.0, 0.0)
    draws: DrawSource = field(default=GeneratorDraws, repr=False, kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "temperature", temperature_range(self.temperature))

    @property
    def guidances(self) -> tuple[float, ...]:
        """Guidance values it uses beside the run's own."""
        return ()

    @abstractmethod
    def loop(self, run: Run) -> None:
        """Take `run` from its first step to its last."""

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
        """Fill the masked cells of `state`; `mgt_core.sample` checks the arguments first."""
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
        self.loop(run)
        return run.finish()
