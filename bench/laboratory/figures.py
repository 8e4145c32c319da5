"""Figures of cases as estimates, and their differences."""

import math
from collections.abc import Mapping

from mgt_core.lab.measures import PARTS
from mgt_core.lab.truth import Estimate

from ..quality.statistics import student_p
from .plan import Case


def of(cases: Mapping[str, Mapping], case: Case | None, figure: str) -> Estimate:
    """A figure of a case; 0 where there is none."""
    return Estimate(*cases[case.name]["figures"][figure]) if case else Estimate(0.0)


def has(cases: Mapping[str, Mapping], case: Case, figure: str) -> bool:
    return case.name in cases and figure in cases[case.name]["figures"]


def p_of(difference: Estimate) -> float:
    """Two-sided p that it is none, by Student's law with as few degrees of freedom as a jackknife leaves."""
    if not difference.error:
        return float(difference.value == 0)
    return student_p(difference.value / difference.error, PARTS - 1)


def ratio(ours: Estimate, theirs: Estimate) -> Estimate | None:
    """ours / theirs as an estimate of its logarithm, or None where one of them may be 0."""
    if min(ours.interval[0], theirs.interval[0]) <= 0:
        return None
    return Estimate(
        math.log(ours.value / theirs.value), math.hypot(ours.error / ours.value, theirs.error / theirs.value)
    )
