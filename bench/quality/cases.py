"""What is measured: vanilla, each choice and some combinations, vanilla at as many passes, and the sweeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import mgt_core

from ..speed.rows import APPROXIMATE, attach_all
from . import decoders
from .decoding import Case

VANILLA = "vanilla"
STEPS = (1, 4, 8, 16, 24, 32, 48)
SAME_COST = 0.05  # steps of a sweep serve as those of equal passes when they are as near as that


@dataclass(frozen=True)
class Sweep:
    """points: value on the axis -> case, in order; vanilla's own value among them."""

    name: str
    axis: str
    points: dict[float | str, Case]
    logarithmic: bool = False


def modifier(kind: type[mgt_core.Modifier], *values: float) -> Callable[[mgt_core.MGTModel], mgt_core.MGTModel]:
    return lambda model: model.with_modifier(kind(*values))


def guidance(**settings) -> Callable[[mgt_core.MGTModel], mgt_core.MGTModel]:
    return lambda model: model.with_guidance(mgt_core.GuidanceSchedule(**settings))


def noise(amplitude: float) -> Case:
    return Case(f"noise regularization {amplitude:g}", modifier(mgt_core.NoiseRegularization, amplitude))


def differential(share: float) -> Case:
    return Case(f"differential sampling {share:g}", modifier(mgt_core.DifferentialSampling, share))


def merging(ratio: float) -> Case:
    return Case(f"token merging {ratio:g}, all blocks", lambda model: model.with_token_merging(ratio, blocks="all"))


def schedule(name: str) -> Case:
    return Case(f"{name} schedule", settings={"schedule": name})


def hotter(start: float) -> Case:
    return Case(f"hotter confidence, {start:g} → 0", settings={"temperature": (start, 0.0)})


def halton(counts: str, p: float = 1.0, roll: bool = False) -> Case:
    """counts: how many cells a step reveals, "arccos" as published or "cosine". p: of nucleus sampling. roll: whether
    every picture begins somewhere else."""
    order = mgt_core.FixedOrder(counts="arccos" if counts == "arccos" else "schedule", roll=roll)
    settings = {"sampler": order, "schedule": "cosine"}
    name = f"Halton order{' begun anywhere' if roll else ''}, {counts} counts"
    return Case(name, settings=settings) if p == 1 else Case(f"{name}, top-p {p:g}", nucleus(p), settings)


def nucleus(p: float) -> Callable[[mgt_core.MGTModel], mgt_core.MGTModel]:
    return modifier(mgt_core.TopKTopP, 0, p)


def masked_zigzag() -> Case:
    return Case("masked Z-Sampling", settings={"sampler": mgt_core.MaskedZSampling()})


def guidance_of(weight: float) -> Case:
    return Case(f"guidance {weight:g}", settings={"cfg": weight})


def with_steps(steps: int) -> Case:
    return Case(f"{VANILLA}, {steps} step{'s' if steps > 1 else ''}", settings={"steps": steps})


def blank_canvas(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_self_guidance(mgt_core.fresh_branch(model.network), 0.5)


def paper(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_modifier(mgt_core.NoiseRegularization(2.0)).with_modifier(mgt_core.DifferentialSampling(0.75))


approximate = partial(attach_all, APPROXIMATE)


def choices(settings: Mapping) -> list[Case]:
    """Vanilla, each choice alone, then combinations that someone would make."""
    steps, early = settings["steps"], guidance(start=0.0, end=0.6)
    return [
        Case(VANILLA),
        *(schedule(name) for name in ("cosine", "linear", "logarithmic") if name != settings["schedule"]),
        hotter(2.0),
        hotter(8.0),
        noise(2.0),
        differential(0.75),
        Case("entropy temperature", modifier(mgt_core.EntropyTemperature)),
        Case("top-p 0.9", nucleus(0.9)),
        halton("arccos"),
        halton("cosine"),
        halton("cosine", 0.9),
        Case("guidance in the first 60 % of steps", early),
        Case("Self-Guidance on a blank canvas, 0.5", blank_canvas),
        Case("momentum 0.5", settings={"sampler": mgt_core.Momentum()}),
        masked_zigzag(),
        Case("noise 2, differential 0.75, masked Z (all of the paper)", paper, masked_zigzag().settings),
        Case("Z-Sampling on half the steps", settings={"sampler": mgt_core.ZSampling(), "steps": max(1, steps // 2)}),
        Case("token merging 0.25, joint blocks (as published)", lambda model: model.with_token_merging()),
        Case("token cache 0.25, every 4", lambda model: model.with_token_cache(0.25, every=4)),
        Case("step skipping, every 2", lambda model: model.with_step_skipping(2)),
        Case("guidance reuse, every 4", lambda model: model.with_guidance_reuse(4)),
        Case("everything approximate", approximate),
        *decoders.named(),
    ]


def sweeps(settings: Mapping) -> list[Sweep]:
    """Vanilla's own value is a point of each."""
    vanilla = Case(VANILLA)

    def line(name: str, axis: str, own: float, values: tuple[float, ...], make: Callable, **more) -> Sweep:
        points = {value: vanilla if value == own else make(value) for value in sorted({own, *values})}
        return Sweep(name, axis, points, **more)

    return [
        line("steps", "steps", settings["steps"], STEPS, with_steps, logarithmic=True),
        line("guidance", "guidance", settings["cfg"], (1.0, 1.5, 2.0, 4.0, 9.0), guidance_of, logarithmic=True),
        line("merging", "share of tokens merged", 0.0, (0.25, 0.5), merging),
        Sweep(
            "quantization",
            "weights and activations",
            {"float": vanilla} | {name: Case(name.upper(), scheme=name) for name in mgt_core.list_quantizations()},
        ),
    ]


def steps_at(passes: float, vanilla_passes: int, settings: Mapping) -> int:
    """Steps of a vanilla run that makes as many passes, or, where they are near, of a point of the sweep."""
    steps = max(1, round(settings["steps"] * passes / vanilla_passes))
    best = min({settings["steps"], *STEPS}, key=lambda n: abs(math.log(n / steps)))
    return best if abs(best / steps - 1) <= SAME_COST else steps


def twin(passes: float, vanilla_passes: int, settings: Mapping) -> Case:
    """Vanilla at as many passes."""
    steps = steps_at(passes, vanilla_passes, settings)
    return Case(VANILLA) if steps == settings["steps"] else with_steps(steps)
