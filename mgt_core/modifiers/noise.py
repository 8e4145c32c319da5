"""Noise regularization: Gaussian noise on the logits before the softmax."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..registry import MODIFIERS
from ..sampling.draws import seeded_generator
from ..settings import choice, number
from ..types import Step
from .base import ActiveModifier, Modifier

# Factor at x = t / (T - 1), which falls from 1 at the first step to 0 at the last.
NOISE_SHAPES: dict[str, Callable[[float], float]] = {
    "paper": lambda x: abs(math.cos(math.pi * x)),
    "constant": lambda x: 1.0,
    "linear": lambda x: x,
    "cosine": lambda x: math.cos((1 - x) * math.pi / 2),
}

NoiseSource = Callable[[Step, Tensor], Tensor]


def seeded_noise(step: Step, like: Tensor) -> Tensor:
    """Standard normal noise for logits `like` [B, M, V], of the cells step.positions.

    Drawn on the logits' device for every cell of an image from a generator seeded by the image's
    seed, the step and the visit: it does not depend on the batch, but it does on the kind of device.
    """
    rows = []
    for seed, positions in zip(step.seeds, step.positions, strict=True):
        generator = seeded_generator(f"noise/{seed}/{step.index}/{step.visit}", like.device)
        cells = step.cells
        noise = torch.randn(cells, like.shape[-1], generator=generator, device=like.device)
        rows.append(noise[positions])
    return torch.stack(rows)


@MODIFIERS.register("noise_regularization")
@dataclass(frozen=True)
class NoiseRegularization(Modifier):
    """l + sigma_k * noise, arXiv 2411.10781, section 3.2.

    amplitude: largest sigma (2 in the paper). shape: how sigma goes over the run: "paper" is
    |cos(pi t / (T - 1))|, strongest at both ends and 0 in the middle; "constant"; "linear" and
    "cosine" fall from 1 to 0. source: of the noise, for tests that feed recorded ones.
    """

    neutral = {"amplitude": 0.0}

    amplitude: float = number(2.0, 0, 1000, "noise amplitude")
    shape: str = choice("paper", tuple(NOISE_SHAPES), "noise shape")
    source: NoiseSource = field(default=seeded_noise, repr=False, kw_only=True)

    def sigma(self, step: Step) -> float:
        """Standard deviation of the noise at this step."""
        if not self.acts(step):
            return 0.0
        # A run of one step is all beginning.
        x = (step.total - 1 - step.index) / (step.total - 1) if step.total > 1 else 1.0
        return self.amplitude * NOISE_SHAPES[self.shape](x)

    def begin(self) -> ActiveModifier:
        def add_noise(logits: Tensor, step: Step) -> Tensor:
            sigma = self.sigma(step)
            return logits.add(self.source(step, logits), alpha=sigma) if sigma else logits

        return add_noise
