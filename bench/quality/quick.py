"""Does a published report hold here? A few cases again, on prompts, captions, cells and seeds that it did not use.

These being new, both runs are samples of the same thing, and each figure is compared by a test of two samples:
Fisher's for shares, Welch's for means. The level of each test is such that a faultless report fails one of them in 1 of
100 checks. Numbers of calls and passes must agree exactly.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import mgt_core

from ..checks import Check
from .cases import VANILLA
from .statistics import Mean, fisher_p, welch_p
from .suites import plan as plans
from .suites.report import ALL, suites_report
from .suites.store import Chunks
from .suites.store import work as draw_suites
from .work import FAR, Extent

PROMPTS = 12
# Cheap and dear ones, good and bad ones, an approximation.
CASES = (VANILLA, "entropy temperature", "everything approximate")
# Of the suites.
SUITES = {
    "completion": [VANILLA, "hotter confidence, 8 → 0", "Halton order, cosine counts", "vanilla, 1 step"],
    "open": [VANILLA, "guidance 4"],
}
SCENES, CAPTIONS, ROUNDS = 50, 6, 2
SHARES = ("right", "background", "object", "layout")
MEANS = ("distance", "sharpness", "diversity")
COUNTS = ("calls", "passes")


def extent(published: Mapping, count: int = PROMPTS) -> Extent:
    """Prompts that follow those of the published run."""
    return Extent(count, count, published["seed"], published["start"] + published["prompts"])


def suites(pipe: mgt_core.Pipeline, published: Mapping, folder: Path, tell: Callable[[str], None]) -> dict:
    """Figures of a few cases of the suites, of completions that follow the published ones (the same scenes with other
    cells kept and other seeds) and of other captions."""
    theirs = published["suites"]["extent"]
    chunk = plans.Completion.chunk
    start = -(-theirs["completion"] // chunk) * chunk
    extent = plans.Extent(SCENES, SCENES, CAPTIONS, ROUNDS, start, theirs["seed"])
    plan = plans.plan(settings_of(published), extent, SUITES, caption_seed=theirs["seed"] + FAR)
    chunks = Chunks(folder, published["model"])
    draw_suites(pipe, plan.jobs, chunks, tell)
    return suites_report(plan, chunks, extent)


def settings_of(published: Mapping) -> dict:
    return {**published["settings"], "temperature": tuple(published["settings"]["temperature"])}


def cases(published: Mapping) -> list[str]:
    return [name for name in CASES if name in published["cases"]]


def compare(published: Mapping, here: Mapping) -> list[Check]:
    """Every figure that both reports have."""
    checks = []
    for name, own in here["cases"].items():
        checks += [Check(name, *check) for check in figures(published["cases"][name], own)]
    for name, first, second in suite_pairs(published["suites"], here["suites"]):
        checks += [Check(name, *check) for check in suite_figures(first, second)]
    return checks


def suite_pairs(published: Mapping, own: Mapping) -> Iterator[tuple[str, Mapping, Mapping]]:
    """What both made: cases of the completion suite, and of every open axis."""
    for name, case in own["completion"].items():
        if name in published["completion"]:
            yield f"completion, {name}", published["completion"][name], case
    for axis, cases in own["open"].items():
        for name, case in cases.items():
            if axis != ALL and name in published["open"].get(axis, {}):
                yield f"{axis}, {name}", published["open"][axis][name], case


def suite_figures(published: Mapping, own: Mapping) -> Iterator[tuple[str, float, float, float]]:
    """Passes exactly; the others by Welch's test, objects over subjects and valid pictures of open captions over
    captions, as those of one are alike."""
    if "passes" in own:
        yield "passes", published["passes"], own["passes"], float(published["passes"] == own["passes"])
    name, kind = ("right", "right_by_subject") if "right" in own else ("valid", "valid_by_caption")
    first, second = Mean.read(published[kind]), Mean.read(own[kind])
    yield name, first.value, second.value, welch_p(first, second)


def figures(published: Mapping, own: Mapping) -> Iterator[tuple[str, float, float, float]]:
    for kind in COUNTS:
        yield kind, published[kind], own[kind], float(published[kind] == own[kind])
    for kind in SHARES:
        first, second = published[kind], own[kind]
        p = fisher_p(first["hits"], first["of"], second["hits"], second["of"])
        yield kind, first["share"], second["share"], p
    for kind in MEANS:
        first, second = Mean.read(published[kind]), Mean.read(own[kind])
        yield kind, first.value, second.value, welch_p(first, second)
    if "against_vanilla" in published:
        first, second = (of["against_vanilla"]["win_rate"] for of in (published, own))
        wins = (first["wins"], first["wins"] + first["losses"], second["wins"], second["wins"] + second["losses"])
        yield "win rate", first["share"], second["share"], fisher_p(*wins)
