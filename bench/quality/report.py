"""All figures of a run as one JSON document, from the pictures that are kept."""

from collections.abc import Mapping

import mgt_core
from recipe.judge.pictures import reconstruct

from ..hardware import in_short
from .cases import VANILLA, Sweep, choices, sweeps
from .decoding import Case
from .measuring import Measured, Yardstick, against
from .prompts import prompts, whole_rounds
from .statistics import holm
from .work import Extent, Pictures, Store, twins

DIGITS = 5


def report(
    pipe: mgt_core.Pipeline,
    model: str,
    settings: dict,
    extent: Extent,
    store: Store,
    plan: Mapping[str, tuple[Case, int]],
    codec: bool = True,
) -> dict:
    """Figures of every case by name, each against vanilla and, where it makes more or fewer passes, against vanilla at
    as many; the sweeps name their points. model: the fingerprint. codec: also measure what the codec makes of the
    compositions."""
    yardstick = Yardstick(prompts(whole_rounds(extent.prompts), extent.start))
    kept: dict[str, Pictures] = {}
    measured: dict[str, Measured] = {}
    cases: dict[str, dict] = {}
    seconds = 0.0
    for name, (case, count) in plan.items():
        pictures = kept[name] = store.read(case, count)
        measured[name] = yardstick.measure(pictures.images, pictures.again)
        costs = {"calls": pictures.calls, "passes": pictures.passes, "seconds": pictures.seconds}
        cases[name] = costs | yardstick.figures(measured[name])
        seconds += pictures.seconds * (len(pictures.images) + len(pictures.again))
    passes = {name: figures["passes"] for name, figures in cases.items()}
    chosen = [case.name for case in choices(settings) if case.name in cases]
    for name, figures in cases.items():
        figures["relative_time"] = figures["seconds"] / cases[VANILLA]["seconds"]
        if name != VANILLA:
            figures["against_vanilla"] = against(measured[name], measured[VANILLA])
    for name, other in twins(settings, passes).items():
        if other.name in cases:
            figures = against(measured[name], measured[other.name])
            cases[name]["against_equal_passes"] = {"case": other.name, "passes": passes[other.name]} | figures
    swept = [sweep for sweep in sweeps(settings) if sum(case.name in cases for case in sweep.points.values()) > 1]
    names = {case.name for sweep in swept for case in sweep.points.values() if case.name in cases}
    fewer = on_fewer(yardstick, cases, {name: kept[name] for name in names | {VANILLA}})
    for kind in ("against_vanilla", "against_equal_passes"):
        told = {name: cases[name][kind]["win_rate"] for name in chosen if kind in cases[name]}
        for name, p in holm({name: rate["p"] for name, rate in told.items()}).items():
            told[name]["p_of_all"] = p
    return {
        "model": model,
        "settings": settings,
        "prompts": whole_rounds(extent.prompts),
        "sweep_prompts": whole_rounds(extent.sweep_prompts),
        "seed": extent.seed,
        "start": extent.start,
        "hardware": in_short(),
        "processor_seconds": seconds,
        "choices": chosen,
        "sweeps": {sweep.name: described(sweep, cases) for sweep in swept},
        "on_sweep_prompts": fewer,
        "reconstructions": codec and yardstick.figures(yardstick.measure(reconstruct(pipe, yardstick.real))),
        "cases": cases,
    }


def on_fewer(yardstick: Yardstick, cases: Mapping[str, dict], kept: Mapping[str, Pictures]) -> dict[str, dict]:
    """Figures again of those cases that were made for more prompts than others, on the prompts that all have: the
    points of a sweep are not to differ by their prompts."""
    count = min(len(pictures.images) for pictures in kept.values())
    longer = {name: pictures.first(count) for name, pictures in kept.items() if len(pictures.images) > count}
    measured = {name: yardstick.measure(pictures.images, pictures.again) for name, pictures in longer.items()}
    found = {name: cases[name] | yardstick.figures(measured[name]) for name in longer}
    for name in longer:
        if name != VANILLA:
            found[name]["against_vanilla"] = against(measured[name], measured[VANILLA])
    return found


def described(sweep: Sweep, cases: Mapping[str, dict]) -> dict:
    """Its points that were made."""
    points = [[value, case.name] for value, case in sweep.points.items() if case.name in cases]
    return {"axis": sweep.axis, "logarithmic": sweep.logarithmic, "points": points}


def point(report: Mapping, name: str) -> dict:
    """Figures of a case as a point of a sweep."""
    return report["on_sweep_prompts"].get(name) or report["cases"][name]


def rounded(value):
    """Numbers to a few significant digits, for a file that can be read and compared."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
