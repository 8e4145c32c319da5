"""All figures of a run as one JSON document."""

from collections.abc import Mapping

from ..hardware import in_short
from ..quality.report import rounded
from ..quality.statistics import holm
from . import hypotheses
from .choices import HALTON, ON_HALTON, ON_VANILLA, VANILLA
from .decoders import STEADY
from .figures import has, of, p_of, ratio
from .measuring import reference
from .plan import BUDGETS, STUDIES, Case, pictures
from .settings import EXACT, FIELD, FOUR, MODELS, TREE, WEAK_FIELD, WORDS, truth_of

# Of a map: study -> model, figure, what is compared with, and what is compared.
MAPS = {
    "on logits": (TREE, "kl", HALTON, [choice.name for choice in ON_HALTON]),
    "field": (FIELD, "variation", VANILLA, [choice.name for choice in ON_VANILLA]),
    "words": (WORDS, "variation", VANILLA, [choice.name for choice in ON_VANILLA]),
    "decoders, field": (FIELD, "variation", VANILLA, [choice.name for choice in STEADY]),
    "decoders, words": (WORDS, "variation", VANILLA, [choice.name for choice in STEADY]),
}
NOISY = "noise regularization 2"
# What a prototype of this laboratory found, whose parameters are not recorded.
PROTOTYPE = [
    *((TREE, "Halton, arccos counts", "kl", k, v) for k, v in ((8, 0.0613), (16, 0.0228), (32, 0.0104))),
    *((TREE, HALTON, "kl", k, v) for k, v in ((8, 0.0336), (16, 0.0097), (32, 0.0013))),
    *((TREE, "Halton, square counts", "kl", k, v) for k, v in ((8, 0.0341), (16, 0.0070), (32, 0.0018))),
    *((TREE, "Raster, cosine counts", "kl", k, v) for k, v in ((8, 0.118), (16, 0.090), (32, 0.062))),
    *((WEAK_FIELD, VANILLA, "variation", k, v) for k, v in ((4, 0.111), (9, 0.199))),
    (WEAK_FIELD, NOISY, "variation", 9, 0.042),
]


def wanted(studies: tuple[str, ...] = ()) -> dict[Case, int]:
    """Pictures of every case, of some studies or of all."""
    chosen = {case.name: case for study in studies or STUDIES for case in STUDIES[study]()}
    return {case: pictures(case) for case in chosen.values()}


def report(cases: Mapping[str, Mapping], seed: int) -> dict:
    """cases: figures by name, as `measure` gives them."""
    models = {
        name: {
            "told": model.told,
            "pictures": model.pictures,
            "entropy": reference(name)["entropy"].value / truth_of(name).cells,
        }
        for name, model in MODELS.items()
    }
    return rounded(
        {
            "seed": seed,
            "hardware": in_short(),
            "processor_seconds": sum(case["seconds"] for case in cases.values()),
            "models": models,
            "hypotheses": hypotheses.outcomes(cases),
            "untested": hypotheses.untested(cases),
            "prototype": prototype(cases),
            "maps": {study: regimes(cases, *told) for study, told in MAPS.items()},
            "cases": dict(cases),
        }
    )


def prototype(cases: Mapping[str, Mapping]) -> list[dict]:
    """Its figures beside those found here."""
    found = []
    for model, choice, figure, steps, value in PROTOTYPE:
        case = Case(model, EXACT, choice, steps)
        if has(cases, case, figure):
            own = of(cases, case, figure)
            told = {"value": own.value, "interval95": list(own.interval), "prototype": value}
            found.append({"model": model, "choice": choice, "steps": steps, "figure": figure} | told)
    return found


def regimes(cases: Mapping[str, Mapping], model: str, figure: str, base: str, rows: list[str]) -> dict:
    """What each choice gains on `base` with as many passes: base - choice, so that more is better. p is raised by
    Holm's method within a column."""
    columns = {}
    for error in FOUR:
        for budget in BUDGETS[model]:
            theirs = Case(model, error, base, budget)
            made = {row: Case(model, error, row, budget) for row in rows}
            made = {row: case for row, case in made.items() if has(cases, case, figure) and has(cases, theirs, figure)}
            gains = {row: of(cases, theirs, figure).minus(of(cases, case, figure)) for row, case in made.items()}
            raised = holm({row: p_of(gain) for row, gain in gains.items()})
            columns[f"{error}, {budget}"] = {
                row: {"value": gain.value, "interval95": list(gain.interval), "p_of_all": raised[row]}
                for row, gain in gains.items()
            }
    return {"model": model, "figure": figure, "base": base, "rows": rows, "columns": columns}


def ratio_told(cases: Mapping[str, Mapping], ours: Case, theirs: Case, figure: str = "kl"):
    """ours / theirs as an estimate of its logarithm; None where there is none."""
    return ratio(of(cases, ours, figure), of(cases, theirs, figure))
