"""What is expected, written down before the run that tests it.

Known then were the figures of a prototype (reproduced: True), the search for parameters that give them, which ran
orders and counts on the exact tree and vanilla with and without noise on Potts fields, and eleven cases that were
timed. Holm's method is over all of them but those that ask for no more than a small difference.

Those of the decoders that came after MaskGIT are a family of their own: they were written down when the others had been
tested, and before the run that tests them. Known then were the figures of the others, and of the decoders how many
passes those make that end early.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mgt_core.lab.truth import Estimate

from ..quality.statistics import holm
from . import decoders
from .choices import HALTON, VANILLA
from .figures import has, of, p_of
from .plan import ALL_AT_ONCE, BUDGETS, CELLS, GUIDED_STEPS, MANY, PLANE, Case
from .settings import BLIND, CLASSES, EXACT, FIELD, NOISE, SMOOTH, TARGET, TREE, WEAK, WEAK_FIELD, WORDS

SURE = 0.05
NOISY = "noise regularization 2"
DECODERS = "decoders"


@dataclass(frozen=True)
class Hypothesis:
    """The figure of `ours` is smaller (sign -1) or larger (1) than that of `theirs`, 0 where there is none; with
    `within` instead the two differ by less than that. reproduced: the prototype had found it. family: whose p are
    raised together."""

    claim: str
    figure: str
    ours: Case
    theirs: Case | None
    sign: int = -1
    within: float | None = None
    reproduced: bool = False
    family: str = "choices"


def counts() -> Iterator[Hypothesis]:
    def tree(choice: str, steps: int) -> Case:
        return Case(TREE, EXACT, choice, steps)

    for steps in (8, 16, 32):
        claim = f"Halton order: cosine counts lie nearer to the truth than arccos counts, {steps} steps"
        yield Hypothesis(claim, "kl", tree(HALTON, steps), tree("Halton, arccos counts", steps), reproduced=True)
    claim = "Halton order: square counts lie nearer than cosine counts, 16 steps"
    yield Hypothesis(claim, "kl", tree("Halton, square counts", 16), tree(HALTON, 16), reproduced=True)
    for name in ("Random", "Raster"):
        claim = f"Cosine counts: Halton order lies nearer than {name.lower()} order, 16 steps"
        own = {"reproduced": name == "Raster"}
        yield Hypothesis(claim, "kl", tree(HALTON, 16), tree(f"{name}, cosine counts", 16), **own)
    claim = "One cell a step is exact"
    yield Hypothesis(claim, "kl", tree(HALTON, ALL_AT_ONCE), None, within=0.001, reproduced=True)
    claim = (
        "An error of the model weighs more than steps: with noisy logits 64 steps lie farther than 8 with exact ones"
    )
    yield Hypothesis(claim, "kl", Case(TREE, NOISE, HALTON, 64), tree(HALTON, 8), 1)


def scored() -> Iterator[Hypothesis]:
    def weak(choice: str, steps: int) -> Case:
        return Case(WEAK_FIELD, EXACT, choice, steps)

    def field(choice: str, budget: int) -> Case:
        return Case(FIELD, EXACT, choice, budget)

    claim = "Vanilla gets worse with steps: 9 lie farther than 4"
    yield Hypothesis(claim, "variation", weak(VANILLA, 9), weak(VANILLA, 4), 1, reproduced=True)
    claim = "Noise on the logits mends that, 9 steps"
    yield Hypothesis(claim, "variation", weak(NOISY, 9), weak(VANILLA, 9), reproduced=True)
    yield Hypothesis("A fixed order mends it too, 9 steps", "variation", weak(HALTON, 9), weak(VANILLA, 9))
    yield Hypothesis("Noise on the logits harms at 3 steps", "variation", field(NOISY, 3), field(VANILLA, 3), 1)
    for name, sign in (("temperature 0 → 0", 1), ("temperature 4.5 → 0", -1), ("random order", -1)):
        claim = f"Strong field, 9 passes: {name} lies {'farther' if sign > 0 else 'nearer'} than vanilla (2 → 0)"
        yield Hypothesis(claim, "variation", field(name, 9), field(VANILLA, 9), sign)
    for name, sign in (("entropy temperature", 1), ("Z-Sampling", -1), ("masked Z-Sampling", 1)):
        claim = f"Strong field, 9 passes: {name} lies {'farther' if sign > 0 else 'nearer'} than vanilla"
        yield Hypothesis(claim, "variation", field(name, 9), field(VANILLA, 9), sign)
    tree = {name: Case(TREE, EXACT, name, PLANE) for name in ("temperature 0 → 0", "random order", "masked Z-Sampling")}
    vanilla = Case(TREE, EXACT, VANILLA, PLANE)
    for figure in ("surprise", "diversity"):
        claim = f"Tree, 16 passes: temperature 0 has less {figure} than random order"
        yield Hypothesis(claim, figure, tree["temperature 0 → 0"], tree["random order"])
    claim = "Tree, 16 passes: masked Z-Sampling is surer of itself (less surprise) than vanilla"
    yield Hypothesis(claim, "surprise", tree["masked Z-Sampling"], vanilla)
    yield Hypothesis("Tree, 16 passes: vanilla is too sure", "surprise", vanilla, None)


def modal() -> Iterator[Hypothesis]:
    def words(choice: str, error: str = EXACT, cfg: float = 1.0) -> Case:
        return Case(WORDS, error, choice, 32, cfg)

    expected = {
        "differential sampling 0.75": -1,
        "differential sampling 0.75, formula": 1,
        "momentum 0.5": 1,
        "Z-Sampling": 1,
        "masked Z-Sampling": 1,
        HALTON: -1,
    }
    for name, sign in expected.items():
        claim = f"Words, 32 passes: {name} lies {'farther' if sign > 0 else 'nearer'} than vanilla"
        yield Hypothesis(claim, "variation", words(name), words(VANILLA), sign)
    back = "masked Z-Sampling, back at guidance 0"
    claim = "Words, a class that is heeded too little, guidance 2: going back without it lies farther than vanilla"
    yield Hypothesis(claim, "variation", words(back, WEAK, 2.0), words(VANILLA, WEAK, 2.0), 1)


def logits() -> Iterator[Hypothesis]:
    def tree(name: str, error: str = EXACT) -> Case:
        return Case(TREE, error, name, 32)

    harmful = (
        "top-p 0.9",
        "min-p 0.1",
        "entropy temperature",
        NOISY,
        "differential sampling 0.75",
        "Self-Guidance stand-in 0.5",
    )
    for name in harmful:
        claim = f"Exact model, Halton order, 32 passes: {name} leads away from the truth"
        yield Hypothesis(claim, "kl", tree(f"Halton, {name}"), tree(HALTON), 1)
    helpful = (
        (SMOOTH, "min-p 0.1"),
        (SMOOTH, "top-p 0.9"),
        (NOISE, "top-p 0.9"),
        (NOISE, "sharpness 1.1"),
        (BLIND, "Self-Guidance stand-in 0.5"),
    )
    for error, name in helpful:
        claim = f"Model {error}: {name} corrects it, Halton order, 32 passes"
        yield Hypothesis(claim, "kl", tree(f"Halton, {name}", error), tree(HALTON, error))
    claim = "Noise on the logits does not correct noisy logits"
    yield Hypothesis(claim, "kl", tree(f"Halton, {NOISY}", NOISE), tree(HALTON, NOISE), 1)


def guided() -> Iterator[Hypothesis]:
    def tree(error: str, weight: float) -> Case:
        return Case(CLASSES, error, HALTON, GUIDED_STEPS, weight)

    yield Hypothesis("Exact model: guidance 2 leads away from the class", "kl", tree(EXACT, 2.0), tree(EXACT, 1.0), 1)
    yield Hypothesis("A class heeded by half: guidance 2 lies nearer than 1", "kl", tree(WEAK, 2.0), tree(WEAK, 1.0))
    claim = "A class heeded by half: guidance 2 is as good as the exact model"
    yield Hypothesis(claim, "kl", tree(WEAK, 2.0), tree(EXACT, 1.0), within=0.005)
    claim = "A wrong guidance target: guidance 2 leads away from the class"
    yield Hypothesis(claim, "kl", tree(TARGET, 2.0), tree(TARGET, 1.0), 1)


def later() -> Iterator[Hypothesis]:
    """Of the decoders that came after MaskGIT, with the exact model and, where it is told, a noisy one."""

    def field(choice: str, budget: int, error: str = EXACT) -> Case:
        return Case(FIELD, error, choice, budget)

    def words(choice: str, budget: int, error: str = EXACT) -> Case:
        return Case(WORDS, error, choice, budget)

    def told(claim: str, ours: Case, theirs: Case, sign: int = -1, **more) -> Hypothesis:
        return Hypothesis(claim, more.pop("figure", "variation"), ours, theirs, sign, family=DECODERS, **more)

    once = decoders.ONCE.name
    for case in (field(once, 9), words(once, 64)):
        claim = f"{case.model.capitalize()}: first-hitting, a cell at a time, lies nearer than vanilla, a cell a step"
        yield told(claim, case, replace(case, choice=VANILLA))
    claim = "Field: first-hitting, a cell at a time, lies as near as random order, which is exact there"
    yield told(claim, field(once, 9), field("random order", 9), within=0.01)
    for case in (field(decoders.AT_EVENTS.name, 9), words(decoders.AT_EVENTS.name, 32)):
        claim = f"{case.model.capitalize()}, {case.budget} steps: first-hitting lies nearer than vanilla"
        yield told(claim, case, replace(case, choice=VANILLA))
    as_many = {
        field: ((decoders.HALF, 7), (decoders.ONE, 5), (decoders.TWO, 3), (decoders.STABLE, 8), (decoders.SURER, 9)),
        words: ((decoders.TWO, 23), (decoders.EIGHT, 8), (decoders.STABLE, 6)),
    }
    for truth, pairs in as_many.items():
        for choice, budget in pairs:
            theirs = truth(VANILLA, budget)
            claim = f"{theirs.model.capitalize()}: {choice.name} lies nearer than vanilla with {budget} passes"
            yield told(claim, truth(choice.name, CELLS[theirs.model]), theirs)
    moment, from_p, exploring = (each.name for each in (decoders.MOMENT, decoders.FROM_P, decoders.EXPLORING))
    for budget in BUDGETS[WORDS]:
        claim = f"Words, {budget} passes: moment lies as near as vanilla"
        yield told(claim, words(moment, budget), words(VANILLA, budget), within=0.05)
        claim = f"Words, {budget} passes: half explored, moment lies nearer than without"
        yield told(claim, words(exploring, budget), words(moment, budget))
    for case in (field(from_p, 9), words(from_p, 32)):
        claim = f"{case.model.capitalize()}, {case.budget} passes: moment lies nearer with codes from p"
        yield told(claim, case, replace(case, choice=moment))
    for choice in decoders.REVISING:
        claim = f"Words, noisy model, 128 passes: {choice.name} lies nearer than vanilla with 64, a cell each"
        yield told(claim, words(choice.name, MANY[WORDS], NOISE), words(VANILLA, CELLS[WORDS], NOISE))
        claim = f"Words, noisy model, 8 passes: {choice.name} lies farther than vanilla"
        yield told(claim, words(choice.name, 8, NOISE), words(VANILLA, 8, NOISE), 1)
    claim = "Field, 36 passes: Gibbs sweeps of one cell lie nearer than vanilla with 9, a cell each"
    yield told(claim, field(decoders.SINGLE.name, MANY[FIELD]), field(VANILLA, 9))
    claim = "Words, noisy model, 32 passes: rescoring by a model with noise of its own lies nearer than vanilla"
    yield told(claim, words(decoders.RESCORED.name, 32, NOISE), words(VANILLA, 32, NOISE))
    for choice in (decoders.BEST, decoders.P2):
        claim = f"Words, 32 passes: {choice.name} is surer of itself (less surprise) than vanilla"
        yield told(claim, words(choice.name, 32), words(VANILLA, 32), figure="surprise")


HYPOTHESES = (*counts(), *scored(), *modal(), *logits(), *guided(), *later())


def outcomes(cases: Mapping[str, Mapping]) -> list[dict]:
    """What became of each of those whose figures there are (of KL no bound): both figures, their difference with its
    interval, p raised by Holm's method over its family, and a verdict."""
    made = [h for h in HYPOTHESES if all(side is None or has(cases, side, h.figure) for side in (h.ours, h.theirs))]
    differences = [of(cases, h.ours, h.figure).minus(of(cases, h.theirs, h.figure)) for h in made]
    raised: dict[str, float] = {}
    for family in dict.fromkeys(h.family for h in made):
        own = [(k, h) for k, h in enumerate(made) if h.family == family and h.within is None]
        raised |= holm({str(k): p_of(differences[k]) for k, _ in own})
    found = []
    for number, (each, difference) in enumerate(zip(made, differences)):
        p = raised.get(str(number))
        found.append(
            {
                "claim": each.claim,
                "figure": each.figure,
                "reproduced": each.reproduced,
                "ours": of(cases, each.ours, each.figure).value,
                "theirs": of(cases, each.theirs, each.figure).value,
                "difference": difference.value,
                "interval95": list(difference.interval),
                "p": p,
                "verdict": verdict(each, difference, p),
            }
        )
    return found


def untested(cases: Mapping[str, Mapping]) -> list[str]:
    """Claims about runs of which no more than a bound is known."""
    sides = {h.claim: [side for side in (h.ours, h.theirs) if side] for h in HYPOTHESES}
    figures = {h.claim: h.figure for h in HYPOTHESES}
    return [
        claim
        for claim, own in sides.items()
        if all(side.name in cases for side in own) and not all(has(cases, side, figures[claim]) for side in own)
    ]


def verdict(each: Hypothesis, difference: Estimate, p: float | None) -> str:
    if each.within is not None:
        return "holds" if max(map(abs, difference.interval)) < each.within else "not shown"
    if p >= SURE:
        return "not shown"
    return "holds" if each.sign * difference.value > 0 else "the opposite holds"
