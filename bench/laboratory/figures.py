"""Figures of cases as estimates, and their differences."""

import math
from collections.abc import Mapping

from mgt_core.lab.truth import Estimate

from .plan import Case


def of(cases: Mapping[str, Mapping], case: Case | None, figure: str) -> Estimate:
    """A figure of a case; 0 where there is none."""
    return Estimate(*cases[case.name]["figures"][figure]) if case else Estimate(0.0)


def has(cases: Mapping[str, Mapping], case: Case, figure: str) -> bool:
    return case.name in cases and figure in cases[case.name]["figures"]


def normal_p(difference: Estimate) -> float:
    """Two-sided p that it is none, by the normal law."""
    if not difference.error:
        return float(difference.value == 0)
    return math.erfc(abs(difference.value) / difference.error / math.sqrt(2))


def ratio(ours: Estimate, theirs: Estimate) -> Estimate | None:
    """ours / theirs as an estimate of its logarithm, or None where one of them may be 0."""
    if min(ours.interval[0], theirs.interval[0]) <= 0:
        return None
    return Estimate(
        math.log(ours.value / theirs.value), math.hypot(ours.error / ours.value, theirs.error / theirs.value)
    )
