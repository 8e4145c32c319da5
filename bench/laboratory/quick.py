"""Does a published report hold here? A few cases again, with other random numbers.

Both runs are samples of the same thing, so each figure is compared by a test of two independent estimates, at a level
such that a faultless report fails one of them in 1 of 100 checks. Steps and passes must agree exactly.
"""

from collections.abc import Mapping

from mgt_core.lab.truth import Estimate

from ..checks import Check
from .choices import HALTON, VANILLA
from .figures import p_of
from .plan import Case, pictures
from .settings import BLIND, CLASSES, EXACT, FIELD, NOISE, TREE, WEAK, WEAK_FIELD, WORDS

FAR = 1_000_003  # between the published seed and this check's
# A few of every study, cheap ones.
CASES = (
    Case(TREE, EXACT, HALTON, 8),
    Case(TREE, EXACT, "Halton, arccos counts", 16),
    Case(TREE, EXACT, "Raster, cosine counts", 8),
    Case(TREE, NOISE, HALTON, 8),
    Case(TREE, BLIND, "Halton, top-p 0.9", 8),
    Case(TREE, EXACT, VANILLA, 16),
    Case(WEAK_FIELD, EXACT, VANILLA, 9),
    Case(WEAK_FIELD, EXACT, "noise regularization 2", 9),
    Case(FIELD, NOISE, "Z-Sampling", 9),
    Case(FIELD, NOISE, "Halton begun anywhere, cosine counts", 9),
    Case(WORDS, EXACT, "differential sampling 0.75", 8),
    Case(WORDS, NOISE, "masked Z-Sampling", 8),
    Case(CLASSES, WEAK, HALTON, 32, 2.0),
)
COUNTS = ("steps", "passes")
DRAWN = ("kl", "surprise", "variation", "diversity", "near", "far")


def wanted(published: Mapping) -> dict[Case, int]:
    """Cases that the report has, with as many pictures, on which the null of a histogram depends."""
    return {case: pictures(case) for case in CASES if case.name in published["cases"]}


def compare(published: Mapping, here: Mapping) -> list[Check]:
    checks = []
    for name, own in here.items():
        other = published["cases"][name]
        checks += [Check(name, kind, other[kind], own[kind], float(other[kind] == own[kind])) for kind in COUNTS]
        for kind in DRAWN:
            if kind in own["figures"]:
                first, second = (Estimate(*of["figures"][kind]) for of in (other, own))
                checks.append(Check(name, kind, first.value, second.value, p_of(first.minus(second))))
    return checks
