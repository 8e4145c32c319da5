"""Figures of a comparison as one JSON document: win rates at equal steps and at equal passes, and what choices cost."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from ..hardware import in_short
from ..quality.statistics import Mean, holm, win_rate
from .choices import VANILLA
from .pictures import Tried, by_choice

Rows = Mapping[str, Sequence[dict | None]]  # of every prompt, by name of the choice
STEPS, PASSES = "against_vanilla", "against_equal_passes"


def half_width(prompts: int, share: float = 0.7) -> float:
    """What a win rate is known to from so many prompts, in points: half its 95 % interval (normal approximation)."""
    return 100 * 1.96 * math.sqrt(share * (1 - share) / prompts)


def report(tried: Tried, rows: Mapping[str, dict], judges: Mapping[str, dict], left_out: Mapping[str, str]) -> dict:
    """judges: title, unit, weights and scores (by name of the picture), by name. left_out: judges that did not work,
    and why."""
    comparison, made = tried.comparison, by_choice(tried.comparison, rows)
    spec = comparison.spec
    cases = {name: costs(own) for name, own in made.items() if any(own)}
    for name, case in cases.items():
        case["relative_time"] = case["seconds"] / cases[VANILLA]["seconds"]
        case["scores"] = {judge: averages(tried, made[name], held["scores"]) for judge, held in judges.items()}
    for name in tried.costs:
        for kind, other in ((STEPS, VANILLA), (PASSES, tried.equal.get(name))):
            if name in (VANILLA, other) or other not in cases or name not in cases:
                continue
            found = {judge: against(made[name], made[other], held["scores"]) for judge, held in judges.items()}
            cases[name][kind] = {"case": other, "passes": cases[other]["passes"], "judges": found}
    for kind in (STEPS, PASSES):
        for judge in judges:
            corrected({n: case[kind]["judges"][judge]["win_rate"] for n, case in cases.items() if kind in case})
    return {
        "model": spec.model,
        "parts": spec.parts,
        "dtype": spec.dtype,
        "size": spec.size,
        "negative": spec.negative,
        "seed": spec.seeds[0],
        "prompt_set": comparison.source,
        "prompts": [prompt.text for prompt in comparison.prompts],
        "half_width": round(half_width(len(comparison.prompts)), 1),
        "hardware": in_short(),
        "device": tried.costs[VANILLA]["device"],
        "settings": spec.settings,
        "refused": tried.refused,
        "judges": {name: {k: held[k] for k in ("title", "unit", "weights")} for name, held in judges.items()},
        "judges_left_out": dict(left_out),
        "cases": cases,
    }


def costs(rows: Sequence[dict | None]) -> dict:
    """Of a picture; seconds are the median, since a first picture warms up what others share."""
    made = [row for row in rows if row]
    seconds = median(row["seconds"] for row in made)
    return {"pictures": len(made), "steps": made[0]["steps"], "passes": made[0]["passes"], "seconds": seconds}


def scored(rows: Sequence[dict | None], scores: Mapping[str, float]) -> np.ndarray:
    """[P], NaN where there is no picture."""
    return np.array([scores.get(row["name"], math.nan) if row else math.nan for row in rows])


def averages(tried: Tried, rows: Sequence[dict | None], scores: Mapping[str, float]) -> dict:
    """Mean score with its interval, and the mean of each style or task."""
    values = scored(rows, scores)
    groups = np.array([prompt.group for prompt in tried.comparison.prompts])
    there = ~np.isnan(values)
    each = {group: float(values[there & (groups == group)].mean()) for group in dict.fromkeys(groups[there])}
    return mean_figure(values[there]) | {"groups": {str(name): value for name, value in each.items() if name}}


def against(ours: Sequence[dict | None], theirs: Sequence[dict | None], scores: Mapping[str, float]) -> dict:
    """Of the prompts that have both pictures: how often ours is better, equal ones counted half, and by how much."""
    pairs = scored(ours, scores), scored(theirs, scores)
    there = ~np.isnan(pairs[0] + pairs[1])
    mine, other = pairs[0][there], pairs[1][there]
    return {"win_rate": win_rate(-mine, -other), "change": mean_figure(mine - other)}


def mean_figure(values: np.ndarray) -> dict:
    """The interval is None of a single value."""
    mean = Mean.of(values)
    return {"value": mean.value, "interval95": list(mean.interval) if mean.count > 1 else None, "count": mean.count}


def corrected(told: Mapping[str, dict]) -> None:
    """Adds p of all these comparisons together (Holm) to each."""
    for name, p in holm({name: rate["p"] for name, rate in told.items()}).items():
        told[name]["p_of_all"] = p
