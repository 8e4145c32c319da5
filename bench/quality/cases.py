"""What is measured: vanilla, each choice and some combinations, vanilla at as many passes, and the sweeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import mgt_core

from ..speed.rows import APPROXIMATE, attach_all
from .decoding import Case

VANILLA = "vanilla"
STEPS = (4, 8, 12, 16, 24, 32, 48, 64)
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


def known_merging(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_token_merging(0.5, blocks="all", known_only=True)


def schedule(name: str) -> Case:
    return Case(f"{name} schedule", settings={"schedule": name})


def zigzag(name: str, start: float, end: float) -> Case:
    sampler = mgt_core.MaskedZSampling(start=start, end=end)
    return Case("masked Z-Sampling" + (f", {name}" if name != "whole run" else ""), settings={"sampler": sampler})


def with_steps(steps: int) -> Case:
    return Case(f"{VANILLA}, {steps} steps", settings={"steps": steps})


def blank_canvas(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_self_guidance(mgt_core.fresh_branch(model.network), 0.5)


def paper(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_modifier(mgt_core.NoiseRegularization(2.0)).with_modifier(mgt_core.DifferentialSampling(0.75))


def mild(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    return model.with_modifier(mgt_core.NoiseRegularization(0.5)).with_modifier(mgt_core.DifferentialSampling(0.25))


ZIGZAGS = {"first quarter": (0.0, 0.25), "first half": (0.0, 0.5), "second half": (0.5, 1.0), "whole run": (0.0, 1.0)}
approximate = partial(attach_all, APPROXIMATE)


def choices(settings: Mapping) -> list[Case]:
    """Vanilla, each choice alone, then combinations that someone would make."""
    steps, early = settings["steps"], guidance(start=0.0, end=0.6)
    entropy = modifier(mgt_core.EntropyTemperature)
    halton, whole_zigzag = mgt_core.FixedOrder(), mgt_core.MaskedZSampling()
    return [
        Case(VANILLA),
        *(schedule(name) for name in ("cosine", "linear", "root", "logarithmic") if name != settings["schedule"]),
        noise(0.5),
        noise(2.0),
        differential(0.25),
        differential(0.75),
        Case("differential sampling 0.75, formula", modifier(mgt_core.DifferentialSampling, 0.75, "all", "formula")),
        Case("entropy temperature", entropy),
        Case("top-k 50, top-p 0.9", modifier(mgt_core.TopKTopP, 50, 0.9)),
        Case("guidance in the first 60 % of steps", early),
        Case("rising guidance", guidance(shape="rising")),
        Case("Self-Guidance on a blank canvas, 0.5", blank_canvas),
        Case("momentum 0.5", settings={"sampler": mgt_core.Momentum()}),
        Case("Halton order", settings={"sampler": halton}),
        Case("Z-Sampling", settings={"sampler": mgt_core.ZSampling()}),
        zigzag("whole run", 0.0, 1.0),
        zigzag("first half", 0.0, 0.5),
        Case("token merging 0.25, joint blocks (as published)", lambda model: model.with_token_merging()),
        merging(0.5),
        Case("token merging 0.5, known tokens", known_merging),
        Case("token cache 0.25, every 4", lambda model: model.with_token_cache(0.25, every=4)),
        Case("token cache 0.1, every 8", lambda model: model.with_token_cache(0.1, every=8)),
        Case("guidance reuse, every 4", lambda model: model.with_guidance_reuse(4)),
        Case("everything approximate", approximate),
        Case("everything approximate, twice the steps", approximate, {"steps": 2 * steps}),
        Case("noise 0.5 and differential 0.25", mild),
        Case("noise 2, differential 0.75, masked Z (all of the paper)", paper, {"sampler": whole_zigzag}),
        Case("entropy temperature and Halton order", entropy, {"sampler": halton}),
        Case("logarithmic schedule, guidance in the first 60 %", early, {"schedule": "logarithmic"}),
        Case("Z-Sampling on half the steps", settings={"sampler": mgt_core.ZSampling(), "steps": max(1, steps // 2)}),
    ]


def sweeps(settings: Mapping) -> list[Sweep]:
    """Vanilla's own value is a point of each."""
    vanilla, (hot, cold) = Case(VANILLA), settings["temperature"]
    own, families = (
        settings["schedule"],
        [n for n in mgt_core.SCHEDULES if mgt_core.SCHEDULES.get(n).listed and n != "pow"],
    )

    def line(name: str, axis: str, own: float, values: tuple[float, ...], make: Callable, **more) -> Sweep:
        points = {value: vanilla if value == own else make(value) for value in sorted({own, *values})}
        return Sweep(name, axis, points, **more)

    return [
        Sweep("schedule", "mask schedule", {f: vanilla if f == own else schedule(f) for f in families}),
        line("steps", "steps", settings["steps"], STEPS, with_steps, logarithmic=True),
        line(
            "temperature",
            f"temperature at the start (end: {cold:g})",
            hot,
            (0.0, 0.5, 1.0, 2.0, 4.0),
            lambda t: Case(f"temperature {t:g}", settings={"temperature": (t, cold)}),
        ),
        line(
            "guidance",
            "guidance",
            settings["cfg"],
            (1.0, 1.5, 2.0, 3.0, 5.0, 9.0),
            lambda w: Case(f"guidance {w:g}", settings={"cfg": w}),
            logarithmic=True,
        ),
        line("noise", "amplitude of the noise", 0.0, (0.25, 0.5, 1.0, 2.0, 4.0), noise),
        line("differential", "share drawn from the difference", 0.0, (0.25, 0.5, 0.75, 1.0), differential),
        Sweep("zigzag", "steps that are zigzags", {"none": vanilla} | {n: zigzag(n, *e) for n, e in ZIGZAGS.items()}),
        line("merging", "share of tokens merged", 0.0, (0.1, 0.3, 0.5, 0.7), merging),
        Sweep(
            "quantization",
            "weights and activations",
            {"float": vanilla} | {name: Case(name.upper(), scheme=name) for name in mgt_core.list_quantizations()},
        ),
    ]


def steps_at(passes: int, vanilla_passes: int, settings: Mapping) -> int:
    """Steps of a vanilla run that makes as many passes, or, where they are near, of a point of the sweep."""
    steps = max(1, round(settings["steps"] * passes / vanilla_passes))
    best = min({settings["steps"], *STEPS}, key=lambda n: abs(math.log(n / steps)))
    return best if abs(best / steps - 1) <= SAME_COST else steps


def twin(passes: int, vanilla_passes: int, settings: Mapping) -> Case:
    """Vanilla at as many passes."""
    steps = steps_at(passes, vanilla_passes, settings)
    return Case(VANILLA) if steps == settings["steps"] else with_steps(steps)
