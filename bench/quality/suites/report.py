"""All figures of the suites as one JSON document, from the pictures that are kept."""

import json
from collections.abc import Mapping

from recipe.judge.thresholds import FILE as THRESHOLDS

from ...pace import mean
from ..cases import VANILLA
from ..statistics import holm
from .choices import GUIDANCE, STEPS
from .completion import tuned
from .figures import (
    Answers,
    completed,
    completion_change,
    completion_figures,
    open_change,
    open_figures,
)
from .hypotheses import tested
from .plan import Extent, Plan
from .store import CODEC, Chunks, Pictures

ALL = "all"
NAMED, RIGHT, VALID = "named prompts", "completion, right", "completion, valid"
COLUMNS = {  # of what hypotheses are about
    ("completion", "right"): RIGHT,
    ("open", "valid"): f"{ALL}, valid",
    ("open", "coverage"): f"{ALL}, coverage",
}


def costs(pictures: Pictures) -> dict:
    return {"calls": pictures.calls, "passes": pictures.passes, "seconds": pictures.seconds}


def suites_report(plan: Plan, chunks: Chunks, extent: Extent) -> dict:
    """plan: all of whose chunks are there."""
    found = {
        "steps": STEPS,
        "guidance": GUIDANCE,
        "extent": vars(extent),
        "tuned": tuned(),
        "judge": json.loads(THRESHOLDS.read_text()),
        "completion": completion_part(plan, chunks),
        "open": open_part(plan, chunks),
    }
    found["hypotheses"] = tested(changes(found))
    return found


def completion_part(plan: Plan, chunks: Chunks) -> dict[str, dict]:
    cases, own = {}, {}
    for name, wanted in plan.completed.items():
        pictures = chunks.all_of(wanted)
        scenes = plan.completion.scenes(wanted[0].start, len(pictures.images))
        own[name] = completed(scenes, pictures.images)
        cases[name] = costs(pictures) | completion_figures(scenes, own[name])
        if name not in (VANILLA, CODEC.name) and VANILLA in own:
            cases[name]["against_vanilla"] = completion_change(scenes, own[name], own[VANILLA])
    return cases


def open_part(plan: Plan, chunks: Chunks) -> dict[str, dict[str, dict]]:
    """axis -> case -> figures, and of all axes together."""
    answers: dict[str, dict[str, Answers]] = {}
    cost: dict[str, list[dict]] = {}
    for axis, cases in plan.answered.items():
        answers[axis] = {}
        for name, wanted in cases.items():
            pictures = chunks.all_of(wanted)
            answers[axis][name] = Answers.read(plan.opened[axis].questions, pictures)
            cost.setdefault(name, []).append(costs(pictures))
    found = {axis: of_axes([axis], answers) for axis in answers}
    found[ALL] = of_axes(list(answers), answers)
    for name, several in cost.items():
        found[ALL][name] |= {kind: mean([each[kind] for each in several]) for kind in ("calls", "passes")}
        found[ALL][name]["seconds"] = sum(each["seconds"] for each in several) / len(several)
    return found


def of_axes(axes: list[str], answers: Mapping[str, Mapping[str, Answers]]) -> dict[str, dict]:
    cases = {}
    for name in answers[axes[0]]:
        own = [answers[axis][name] for axis in axes]
        cases[name] = open_figures(own)
        if name not in (VANILLA, CODEC.name) and VANILLA in answers[axes[0]]:
            cases[name]["against_vanilla"] = open_change(own, [answers[axis][VANILLA] for axis in axes])
    return cases


def changes(suites: Mapping) -> dict[str, dict[str, dict]]:
    """suite -> case -> figure -> its change against vanilla."""
    found = {"completion": suites["completion"], "open": suites["open"][ALL]}
    return {
        suite: {name: case["against_vanilla"] for name, case in cases.items() if "against_vanilla" in case}
        for suite, cases in found.items()
    }


def regimes(suites: Mapping, cases: Mapping[str, Mapping]) -> dict:
    """The regime map: column -> choice -> change against vanilla. p of what a hypothesis names is raised over the
    hypotheses of its suite, that of the others over the other choices of the column. cases: those of the named prompts,
    by the same names; theirs is the win rate beyond one half."""
    columns: dict[str, dict[str, dict]] = {NAMED: {}, RIGHT: {}, VALID: {}}
    told = changes(suites)
    rows = list(dict.fromkeys([*told["completion"], *told["open"]]))
    for name in rows:
        if "against_vanilla" in cases.get(name, {}):
            rate = cases[name]["against_vanilla"]["win_rate"]
            ends = [end - 0.5 for end in rate["interval95"]]
            columns[NAMED][name] = {"value": rate["share"] - 0.5, "interval95": ends, "p": rate["p"]}
    for name, change in told["completion"].items():
        columns[RIGHT][name], columns[VALID][name] = dict(change["right"]), dict(change["valid"])
    for axis in [ALL, *(axis for axis in suites["open"] if axis != ALL)]:
        for figure in ("valid", "coverage"):
            told = {name: case.get("against_vanilla", {}) for name, case in suites["open"][axis].items()}
            columns[f"{axis}, {figure}"] = {name: dict(own[figure]) for name, own in told.items() if figure in own}
    for column, own in columns.items():
        foreseen = {h["case"]: h["p"] for h in suites["hypotheses"] if column == COLUMNS[h["suite"], h["figure"]]}
        others = holm({name: change["p"] for name, change in own.items() if name not in foreseen})
        for name, change in own.items():
            change["p_of_all"] = foreseen[name] if name in foreseen else others[name]
    return {"rows": rows, "columns": columns}
