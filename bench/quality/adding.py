"""Rows for a published report without making its others anew: what it lacks is drawn beside vanilla, which has to come
out as it was published, and joins it. Chances are raised over the rows that were added together."""

import math
from collections.abc import Callable, Collection, Mapping

import mgt_core
from mgt_core.errors import MGTError

from . import quick
from .cases import VANILLA, choices
from .decoding import Case
from .report import report, rounded
from .suites import choices as suite_choices
from .suites.plan import Extent as SuiteExtent
from .suites.plan import plan as suites_plan
from .suites.report import ALL, regimes, suites_report
from .suites.store import CODEC, Chunks
from .suites.store import work as draw_suites
from .work import Extent, Store, twins, work

Tell = Callable[[str], None]
COSTS = ("seconds", "relative_time")  # of this machine, now
ROUNDING = 1e-3


def lacking(published: Mapping, only: Collection[str] = ()) -> list[str]:
    """Choices that the report has no figures of; of `only`, where it names any."""
    return names_lacking(choices(quick.settings_of(published)), published["cases"], only)


def lacking_suites(published: Mapping, only: Collection[str] = ()) -> dict[str, list[str]]:
    """The same of the suites, each with vanilla, which they are compared with."""
    own = {"completion": suite_choices.completion_cases(), "open": suite_choices.open_cases()}
    there = {"completion": published["suites"]["completion"], "open": published["suites"]["open"][ALL]}
    return {suite: [VANILLA, *names_lacking(cases, there[suite], only)] for suite, cases in own.items()}


def names_lacking(cases: list[Case], there: Collection[str], only: Collection[str]) -> list[str]:
    names = [case.name for case in cases if case.name not in there]
    return [name for name in names if name in (only or names)]


def added(
    pipe: mgt_core.Pipeline, published: Mapping, store: Store, chunks: Chunks, tell: Tell, only: Collection[str] = ()
) -> dict | None:
    """The report with the rows that it lacks (or those of them that are in `only`), or None while another process makes
    some of them."""
    settings, extent = quick.settings_of(published), extent_of(published)
    own = SuiteExtent(**published["suites"]["extent"])
    suites = suites_plan(settings, own, lacking_suites(published, only))
    draw_suites(pipe, suites.jobs, chunks, tell)
    plan = named(pipe, settings, extent, store, lacking(published, only), tell)
    if plan is None or not all(chunks.has(job) for job in suites.jobs):
        return None
    found = report(pipe, published["model"], settings, extent, store, plan, codec=False)
    found["suites"] = suites_report(suites, chunks, own)
    found["regimes"] = regimes(found["suites"], found["cases"])
    found = rounded(found)
    check_vanilla(published["cases"][VANILLA], found["cases"][VANILLA])
    spent = published["processor_seconds"] + seconds_of(found["cases"], found["cases"].keys() - published["cases"])
    return rounded({**joined(published, found), "processor_seconds": spent})


def extent_of(published: Mapping) -> Extent:
    return Extent(published["prompts"], published["sweep_prompts"], published["seed"], published["start"])


def named(pipe: mgt_core.Pipeline, settings: dict, extent: Extent, store: Store, names: list[str], tell: Tell):
    """As `work`, of the choices `names`, vanilla, and vanilla at as many passes as each makes."""
    plan = work(pipe, settings, extent, store, tell, {VANILLA, *names})
    if plan is None:
        return None
    passes = {name: store.read(case, count).passes for name, (case, count) in plan.items()}
    return work(pipe, settings, extent, store, tell, {*plan, *(case.name for case in twins(settings, passes).values())})


def check_vanilla(published: Mapping, here: Mapping) -> None:
    """Raises MGTError where it draws other pictures than those that were published: rows would not compare."""
    differing = [key for key, value in here.items() if key not in COSTS and not alike(published[key], value)]
    if differing:
        raise MGTError(
            f"vanilla draws other pictures here than those of the published report ({', '.join(differing)} differ), so "
            "that rows cannot be added to it; without --add everything is made anew"
        )


def alike(one, other) -> bool:
    """Whether figures are the same but for how a machine rounds."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return math.isclose(one, other, rel_tol=ROUNDING) if isinstance(one, float) else one == other


def seconds_of(cases: Mapping[str, Mapping], names: Collection[str]) -> float:
    return sum(cases[name]["seconds"] * cases[name]["prompts"] for name in names)


def joined(published: Mapping, found: Mapping) -> dict:
    """The published report with what `found` has beside it."""
    suites, own = published["suites"], found["suites"]
    columns = {
        name: later(rows, found["regimes"]["columns"][name]) for name, rows in published["regimes"]["columns"].items()
    }
    return {
        **published,
        "choices": later(published["choices"], found["choices"]),
        "cases": later(published["cases"], found["cases"]),
        "suites": suites
        | {
            "completion": later(suites["completion"], own["completion"]),
            "open": {axis: later(cases, own["open"][axis]) for axis, cases in suites["open"].items()},
            "hypotheses": later(suites["hypotheses"], own["hypotheses"]),
        },
        "regimes": {"rows": later(published["regimes"]["rows"], found["regimes"]["rows"]), "columns": columns},
    }


def later(published: dict | list, found: dict | list) -> dict | list:
    """What was published, as it was, then what it lacks; the codec's row stays the last."""
    if isinstance(published, list):
        return published + [item for item in found if item not in published]
    both = published | {key: value for key, value in found.items() if key not in published}
    return both | ({CODEC.name: both.pop(CODEC.name)} if CODEC.name in both else {})
