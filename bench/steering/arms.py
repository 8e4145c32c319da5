"""What is compared, and what is expected of it, written down before the run on the prompts that are reported.

Known then: vanilla draws the layouts of the built-in model's held-out prompts without guidance in four steps (24 of 24)
and in a single one (12 of 12), so that noise on the logits makes the setting hard; and what `tuning` found on 24 other
prompts: 5 right and well drawn by vanilla, 6 by best of 4, 5 and 7 by 4 particles of weight 100 and 300, with rewards
of -21.6, -16.5, -15.4 and -15.1 thousandths. The weight was chosen by these.
"""

from dataclasses import dataclass

import mgt_core
from mgt_core import BestOf, Particles

from .reward import RegionColours

STEPS, NOISE = 4, 5.0  # of every candidate, without guidance; added at every step
WEIGHT = 300.0
HYPOTHESES = """1. Best of 4 and of 8 draw more pictures right than vanilla at as many steps (4), and at as many calls.
2. Particles reach a higher reward than best of n at as many calls, at n = 4 and 8.
3. Particles draw at least as many right as best of n; of this difference nothing is expected to be told at this size.
4. Vanilla gains little by as many calls as best of n makes: noise at every step stays noise."""


@dataclass(frozen=True)
class Arm:
    name: str
    sampler: mgt_core.Sampler
    steps: int = STEPS


def hard(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_modifier(mgt_core.NoiseRegularization(NOISE, "constant"))


def particles(n: int, reward: RegionColours, weight: float = WEIGHT) -> Particles:
    return Particles(n, mgt_core.MaskGIT(), reward, every=1, weight=weight)


def arms(reward: RegionColours) -> list[Arm]:
    """Vanilla, by itself and at as many calls, and the others."""
    plain = mgt_core.MaskGIT()
    return [
        *(Arm(f"vanilla, {steps} steps", plain, steps) for steps in (STEPS, 4 * STEPS, 8 * STEPS)),
        *(Arm(f"best of {n}", BestOf(n, plain, reward)) for n in (4, 8)),
        *(Arm(f"{n} particles", particles(n, reward)) for n in (4, 8)),
    ]


def tuning(reward: RegionColours) -> list[Arm]:
    """On prompts that are not reported."""
    weights = (100.0, 300.0)
    return [
        Arm(f"vanilla, {STEPS} steps", mgt_core.MaskGIT()),
        Arm("best of 4", BestOf(4, mgt_core.MaskGIT(), reward)),
        *(Arm(f"4 particles, {weight:g}", particles(4, reward, weight)) for weight in weights),
    ]
