"""What is expected of the choices, written down before the run that tests it.

Each names one figure of one choice against vanilla, and a direction. They were chosen on other scenes than those that
they are tested on: a prototype of the completion suite, with another model, saw 120 scenes for the first, on which it
won, and 120 others, on which it did not. Holm's method is over the hypotheses of one suite that are tested together.

Those of the decoders that came after MaskGIT were written down when the others had been tested, and before any picture
of these decoders was judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..decoders import SURE as SURE_OF_FOUR
from ..statistics import holm

SURE = 0.05
LATER = 100  # scenes of the later hypotheses


@dataclass(frozen=True)
class Hypothesis:
    """suite: "completion" or "open"; figure: whose change against vanilla is meant; sign: +1 where more is expected.
    A "holds" needs that direction and p below 0.05, raised for the number of hypotheses of the suite that are tested
    together. scenes: to complete, at the most; None for as many as vanilla does."""

    claim: str
    suite: str
    case: str
    figure: str
    sign: int
    scenes: int | None = None


HYPOTHESES = (
    Hypothesis(
        "Hotter confidence completes more objects rightly", "completion", "hotter confidence, 8 → 0", "right", 1
    ),
    Hypothesis(
        "Noise regularization completes more objects rightly", "completion", "noise regularization 2", "right", 1
    ),
    Hypothesis(
        "Halton order with cosine counts completes more objects rightly",
        "completion",
        "Halton order, cosine counts",
        "right",
        1,
    ),
    Hypothesis(
        "Halton order with cosine counts and top-p 0.9 completes more objects rightly",
        "completion",
        "Halton order, cosine counts, top-p 0.9",
        "right",
        1,
    ),
    Hypothesis("Guidance 4 makes more pictures valid", "open", "guidance 4", "valid", 1),
    Hypothesis("Guidance 4 covers less of what is left open", "open", "guidance 4", "coverage", -1),
    Hypothesis("Confidence without noise covers less", "open", "hotter confidence, 0 → 0", "coverage", -1),
    Hypothesis("Hotter confidence covers more", "open", "hotter confidence, 8 → 0", "coverage", 1),
    Hypothesis("Top-p 0.9 covers less", "open", "top-p 0.9", "coverage", -1),
    Hypothesis(
        "One step, with nothing decoded jointly, makes fewer pictures valid", "open", "vanilla, 1 step", "valid", -1
    ),
    *(
        Hypothesis(f"{name} completes {more} objects rightly", "completion", case, "right", sign, scenes)
        for name, case, more, sign, scenes in (
            ("First-hitting", "first-hitting", "fewer", -1, LATER),
            ("Token editing", "token editing", "more", 1, LATER),
            ("The Gibbs corrector", "Gibbs corrector", "more", 1, LATER),
            ("The surest of four pictures", SURE_OF_FOUR, "more", 1, LATER),
        )
    ),
    Hypothesis("First-hitting makes fewer pictures valid", "open", "first-hitting", "valid", -1),
    Hypothesis("First-hitting covers more", "open", "first-hitting", "coverage", 1),
    Hypothesis("The moment sampler, half explored, covers more", "open", "moment, half explored", "coverage", 1),
    Hypothesis("ReMDM covers more", "open", "ReMDM", "coverage", 1),
    Hypothesis("Path planning covers less", "open", "path planning", "coverage", -1),
)


def named(suite: str) -> dict[str, int | None]:
    """Cases that a suite is to draw more pictures for: how many at the most."""
    return {each.case: each.scenes for each in HYPOTHESES if each.suite == suite}


def tested(changes: Mapping[str, Mapping[str, Mapping]]) -> list[dict]:
    """What became of each. changes: suite -> case -> {figure: {"value", "interval95", "p"}} against vanilla, more being
    better; hypotheses of what was not made are left out."""
    found = []
    for suite in dict.fromkeys(each.suite for each in HYPOTHESES):
        made = [h for h in HYPOTHESES if h.suite == suite and h.figure in changes.get(suite, {}).get(h.case, {})]
        raised = holm({h.claim: changes[suite][h.case][h.figure]["p"] for h in made})
        for each in made:
            change, p = changes[suite][each.case][each.figure], raised[each.claim]
            direction = each.sign * change["value"]
            verdict = "not shown" if p >= SURE else "holds" if direction > 0 else "the opposite holds"
            told = {"claim": each.claim, "suite": suite, "case": each.case, "figure": each.figure}
            own = {"value": change["value"], "interval95": change["interval95"]}
            found.append({**told, **own, "p": p, "verdict": verdict})
    return found
