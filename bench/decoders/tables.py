"""The generated parts of docs/decoders.md: from the registry, from what was measured here, and from other reports."""

from collections.abc import Mapping

import mgt_core
from mgt_core.samplers.steered import Steered

from ..laboratory.settings import EXACT, FIELD, NOISE, WORDS
from ..markdown import table
from ..quality.format import count
from ..quality.suites.report import ALL
from .rows import ROWS, Row

# Where the laboratory tells them apart: truth, passes, and of which model.
TRUTHS = ((FIELD, 9, EXACT), (WORDS, 32, EXACT), (WORDS, 32, NOISE))
CELLS = {FIELD: 9, WORDS: 64}  # budget of those that end early: as many steps as cells
NONE = "–"


def decoders(found: Mapping) -> str:
    """What each is: by its class, and by its row."""
    rows = []
    for name, row in ROWS.items():
        kind = mgt_core.SAMPLERS.get(name)
        revises = "by candidates" if issubclass(kind, Steered) else yes(kind.takes_back)
        flags = [yes(kind.ends_early), revises]
        rows.append([linked(row), row.calls, *flags, row.exact, row.families, row.loses])
    return table(
        "Decoder | Calls of T steps | Ends early | Revises | Exact on the known truth | Networks | Costs and loses",
        rows,
    )


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def linked(row: Row) -> str:
    """Its name, which leads to the page of its node."""
    return f"[{row.label}](../web/docs/{row.node}.md)"


def costs(found: Mapping) -> str:
    rows = []
    for name, row in ROWS.items():
        own = found["costs"]["decoders"][name]
        told = [f"{own['inside']:.2f}", f"{100 * own['outside']:.1f} %", f"{100 * beyond(found['costs'], name):+.1f} %"]
        rows.append([row.label, count(own["calls"]), count(own["passes"]), *told])
    return table("Decoder | Calls | Passes | Network, of a call | Outside it | Beyond MaskGIT's", rows)


def beyond(costs: Mapping, name: str) -> float:
    """What a call of it does outside the network more than one of MaskGIT, as a share of a step in the network."""
    return costs["decoders"][name]["outside"] - costs["decoders"]["maskgit"]["outside"]


def measured(found: Mapping) -> str:
    rows = []
    for row in ROWS.values():
        drawn = in_quality(found["quality"], row)
        for place, name in enumerate(row.laboratory):
            lab = [in_laboratory(found["laboratory"], name, *where) for where in TRUTHS]
            rows.append([name if place else row.label, *lab, *(drawn if not place else [""] * len(drawn))])
    heads = [f"{truth.capitalize()}, {error}" for truth, _, error in TRUTHS]
    return table(" | ".join(["Decoder", *heads, "Completions right", "Open captions valid", "Covered"]), rows)


def in_laboratory(report: Mapping, name: str, truth: str, passes: int, error: str) -> str:
    """Total variation from the truth and the passes that it took, where it was measured: at so many passes at the
    most, or, where it ends early, as many as it needed."""
    for budget in (passes, CELLS[truth]):
        case = report["cases"].get(f"{truth}, {error}: {name}, {budget} passes")
        if case and "variation" in case["figures"]:
            return f"{case['figures']['variation'][0]:.2f} ({case['passes']:.3g})"
    return NONE


def in_quality(report: Mapping, row: Row) -> list[str]:
    """Points against vanilla: objects completed rightly, and of open captions what is valid and what is covered."""
    suites = report["suites"]
    changes = [(suites["completion"], "right"), (suites["open"][ALL], "valid"), (suites["open"][ALL], "coverage")]
    return [points(cases.get(row.quality, {}).get("against_vanilla", {}).get(figure)) for cases, figure in changes]


def points(change: Mapping | None) -> str:
    if change is None:
        return NONE
    ends = change["interval95"]
    return f"{100 * change['value']:+.0f}" + (f" ({100 * ends[0]:+.0f} to {100 * ends[1]:+.0f})" if ends else "")


def setup(found: Mapping) -> str:
    costs = found["costs"]
    return (
        f"One picture of the built-in model, {costs['steps']} steps, guidance {costs['guidance']:g}, batch 1; a step "
        f"of MaskGIT spends {1000 * costs['network_seconds_a_step']:.0f} ms of the processor in the network "
        f"({costs['hardware']}, float32).\n"
    )


PARTS = {"decoders": decoders, "measured": measured, "setup": setup, "costs": costs}
