"""The generated parts of docs/quality.md that are about the suites."""

from collections.abc import Mapping

from ...markdown import percent, table
from ..cases import VANILLA
from ..format import chance, count, number
from .completion import scenes
from .report import ALL
from .store import CODEC


def points(change: Mapping) -> str:
    """Of a share, or of a total variation, in hundredths."""
    told = f"{100 * change['value']:+.1f}"
    if change["interval95"] is None:
        return told
    low, high = (100 * end for end in change["interval95"])
    return f"{told} ({low:+.1f} to {high:+.1f})"


def hypotheses(report: Mapping) -> str:
    rows = [
        [each["claim"], each["case"], points(each), chance(each["p"]), f"**{each['verdict']}**"]
        for each in report["suites"]["hypotheses"]
    ]
    return table("Hypothesis | Choice | Change, points | p | Verdict", rows)


def completion(report: Mapping) -> str:
    rows = []
    for name, case in report["suites"]["completion"].items():
        change = case.get("against_vanilla")
        told = [points(change["right"]), f"{change['gained']} / {change['lost']}"] if change else ["", ""]
        told += [chance(report["regimes"]["columns"]["completion, right"][name]["p_of_all"]) if change else ""]
        told += [percent(case["valid"]), points(change["valid"]) if change else ""]
        means = [number(case[kind]) for kind in ("residual", "distance", "sharpness")]
        costs = [count(case["passes"]), f"{case['seconds']:.2f}"] if case["passes"] else ["–", "–"]
        rows.append([name, str(case["scenes"]), percent(case["right"]), *told, *means, *costs])
    return table(
        "Choice | Completions | Object right | Change, points | Gained / lost | p | Valid | Change, points "
        "| Residual | Distance | Sharpness | Passes | Seconds",
        rows,
    )


def opened(report: Mapping) -> str:
    rows = []
    for name, case in report["suites"]["open"][ALL].items():
        change = case.get("against_vanilla")
        told = [points(change[kind]) if change and kind in change else "" for kind in ("valid", "coverage")]
        rows.append([name, percent(case["valid"]), told[0], *covered(case), told[1], percent(case["blank"])])
    return table(
        "Choice | Valid | Change, points | Captions | Total variation | By chance | Beyond chance | Coverage, points "
        "| Blank",
        rows,
    )


def covered(case: Mapping) -> list[str]:
    """Captions that have enough valid pictures to tell, and their total variation."""
    told = f"{case['captions_covered']} of {case['captions']}"
    if "excess" not in case:
        return [told, *["–"] * 3]
    return [told, f"{case['variation']:.2f}", f"{case['null']:.2f}", number(case["excess"])]


def by_axis(report: Mapping) -> str:
    rows = []
    for axis, cases in report["suites"]["open"].items():
        for name in (VANILLA, CODEC.name):
            if axis == ALL or name not in cases:
                continue
            case = cases[name]
            again = [number(case["repeats_excess"])] if "repeats_excess" in case else ["–"]
            rows.append([axis, name, str(case["pictures"]), percent(case["valid"]), *covered(case), *again])
    head = "Open | Decoded by | Pictures | Valid | Captions | Total variation | By chance | Beyond chance | Repeats"
    return table(head, rows)


def judge(report: Mapping) -> str:
    held = report["suites"]["judge"]
    rows = [
        [name, percent(own["read right"], 1) if "read right" in own else "–", percent(own["valid"], 1),
         percent(own["nothing drawn"], 1), str(own["valid"]["of"])]
        for name, own in held["measured"].items()
    ]  # fmt: skip
    return table("Pictures | Read right | Valid | Nothing drawn | Number", rows)


def suites(report: Mapping) -> str:
    own = report["suites"]
    extent, tuned = own["extent"], own["tuned"]
    seconds = sum(case["seconds"] * case["scenes"] for case in own["completion"].values())
    seconds += sum(case["seconds"] * case["pictures"] for case in own["open"][ALL].values())
    return (
        f"Suites: {own['steps']} steps, guidance {own['guidance']:g}, otherwise the model's settings. "
        f"{extent['completion']} completions by vanilla and each choice that a hypothesis names, {extent['others']} by "
        f"the others, of {len(scenes())} held-out scenes in turn, each time with other cells kept and another seed; "
        f"{tuned['kept']} tokens are kept inside the object. {extent['captions']} captions of each axis, "
        f"{extent['rounds']} pictures each. {seconds / 60:.0f} minutes of one processor.\n"
    )


SUITE_PARTS = {
    "suites": suites,
    "hypotheses": hypotheses,
    "completion": completion,
    "open": opened,
    "axes": by_axis,
    "judge": judge,
}
