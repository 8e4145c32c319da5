"""Does a published report hold here? A few cases again, on prompts and seeds that it did not use.

The prompts being new, both runs are samples of the same thing, and each figure is compared by a test of two samples:
Fisher's for shares, Welch's for means. The level of each test is such that a faultless report fails one of them in 1 of
100 checks. Numbers of calls and passes must agree exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .cases import VANILLA
from .statistics import Mean, fisher_p, welch_p
from .work import Extent

LEVEL = 0.01
PROMPTS = 18
# Cheap and dear ones, good and bad ones, an approximation, and a packed network.
CASES = (VANILLA, "logarithmic schedule", "entropy temperature", "Z-Sampling", "everything approximate")
SHARES = ("right", "background", "object", "layout")
MEANS = ("distance", "sharpness", "diversity")
COUNTS = ("calls", "passes")


@dataclass(frozen=True)
class Check:
    """One figure of one case. p: how likely two samples of one kind are to differ as much, 0 or 1 for exact ones."""

    case: str
    figure: str
    published: float
    here: float
    p: float


def extent(published: Mapping, count: int = PROMPTS) -> Extent:
    """Prompts that follow those of the published run."""
    return Extent(count, count, published["seed"], published["start"] + published["prompts"])


def cases(published: Mapping) -> list[str]:
    return [name for name in CASES if name in published["cases"]]


def compare(published: Mapping, here: Mapping) -> list[Check]:
    """Every figure that both reports have."""
    checks = []
    for name, own in here["cases"].items():
        checks += [Check(name, *check) for check in figures(published["cases"][name], own)]
    return checks


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


def failed(checks: list[Check]) -> list[Check]:
    """Bonferroni over all that chance has a part in."""
    level = LEVEL / max(1, sum(check.figure not in COUNTS for check in checks))
    return [check for check in checks if check.p < level]


def told(checks: list[Check]) -> str:
    bad = failed(checks)
    lines = [f"{'case':24} {'figure':11} {'published':>10} {'here':>10} {'p':>8}"]
    for check in checks:
        mark = "  DIFFERS" if check in bad else ""
        lines.append(
            f"{check.case:24.24} {check.figure:11} {check.published:10.4g} {check.here:10.4g} {check.p:8.2g}{mark}"
        )
    return "\n".join([*lines, f"{len(checks) - len(bad)} of {len(checks)} figures hold"])
