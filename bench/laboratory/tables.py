"""The generated parts of docs/laboratory.md, from the report."""

import math
from collections.abc import Mapping

from mgt_core.lab.truth import Estimate

from ..markdown import listed, table
from ..quality.format import chance
from . import held_out, spans
from .choices import HALTON, ORDERS, VANILLA, ZIGZAGS
from .decoders import ONCE, REVISING, STEADY
from .figures import has, of
from .hypotheses import HYPOTHESES
from .plan import ADAPTIVE, AS_MANY, BUDGETS, CELLS, GUIDED_STEPS, MANY, STEPS, WEIGHTS, Case
from .report import ratio_told
from .settings import BLIND, CLASSES, EXACT, NOISE, SMOOTH, TARGET, TREE, WEAK, WORDS

SURE = 0.05
UNITS = {"kl": "KL, nats a token", "surprise": "surprise, nats a token", "variation": "total variation"}
UNITS |= {"diversity": "diversity"}


def told(figure: Estimate, digits: int = 4, signed: bool = False) -> str:
    low, high = figure.interval
    sign = "+" if signed else ""
    between = " to " if signed else "–"
    return f"{figure.value:{sign}.{digits}f} ({low:{sign}.{digits}f}{between}{high:{sign}.{digits}f})"


def times(logarithm: Estimate | None) -> str:
    """A ratio with its interval."""
    if logarithm is None:
        return "–"
    low, high = (math.exp(end) for end in logarithm.interval)
    return f"{math.exp(logarithm.value):.1f} ({low:.1f}–{high:.1f})"


def setup(report: Mapping) -> str:
    lines = [
        f"- **{name}**: {model['told']}; entropy {model['entropy']:.3f} nats a token; {model['pictures']} pictures."
        for name, model in report["models"].items()
    ]
    minutes = report["processor_seconds"] / 60
    told = f"{len(report['cases'])} cases, seed {report['seed']}, {minutes:.0f} minutes of one processor"
    lines.append(f"\n{told} ({report['hardware']}).\n")
    return "\n".join(lines)


def expected(report: Mapping) -> str:
    """The hypotheses as they stood before the run."""
    return "".join(f"{k}. {each.claim}{' *' if each.reproduced else ''}.\n" for k, each in enumerate(HYPOTHESES, 1))


def claims(report: Mapping) -> str:
    rows = []
    for each in report["hypotheses"]:
        low, high = each["interval95"]
        figures = f"{UNITS[each['figure']]}: {each['ours']:.4g} against {each['theirs']:.4g}"
        p = "" if each["p"] is None else chance(each["p"])
        star = " *" if each["reproduced"] else ""
        rows.append([each["claim"] + star, figures, f"{low:+.4f} to {high:+.4f}", p, f"**{each['verdict']}**"])
    return table("Claim | Evidence | Interval of the difference | p | Verdict", rows)


def summary(report: Mapping) -> str:
    verdicts = [each["verdict"] for each in report["hypotheses"]]
    counts = {kind: verdicts.count(kind) for kind in ("holds", "the opposite holds", "not shown")}
    wrong = [each["claim"] for each in report["hypotheses"] if each["verdict"] == "the opposite holds"]
    text = (
        f"Of {len(verdicts)} hypotheses {counts['holds']} hold, of {counts['the opposite holds']} the opposite holds, "
        f"{counts['not shown']} are not shown.\n"
    )
    if report["untested"]:
        text += (
            f"\nNot tested, since of such runs no more than a bound of KL is known: {'; '.join(report['untested'])}.\n"
        )
    return text + ("\nThe opposite holds of:\n\n" + "".join(f"- {claim}\n" for claim in wrong) if wrong else "")


def known(report: Mapping) -> str:
    rows = [
        [each["model"], each["choice"], str(each["steps"]), UNITS[each["figure"]], f"{each['prototype']:.4f}",
         told(Estimate(each["value"], (each["interval95"][1] - each["value"]) / 1.96)),
         f"{each['value'] / each['prototype']:.2f}"]
        for each in report["prototype"]
    ]  # fmt: skip
    return table("Truth | Choice | Steps | Figure | Prototype | Here | Here / prototype", rows)


def divergence(cases: Mapping, case: Case) -> str:
    """KL of a case, or what it is at the most."""
    if has(cases, case, "kl_bound"):
        return f"≤ {of(cases, case, 'kl_bound').interval[1]:.4f}"
    return told(of(cases, case, "kl")) if has(cases, case, "kl") else "–"


def orders(report: Mapping) -> str:
    cases, rows = report["cases"], []
    for choice in ORDERS:
        made = [Case(TREE, EXACT, choice.name, n) for n in STEPS]
        rows.append([choice.name, *(divergence(cases, c) for c in made)])
    return table(" | ".join(["Choice", *(f"{n} steps" for n in STEPS)]), rows)


def counts(report: Mapping) -> str:
    """How many times farther from the truth the arccos law lies than a schedule's counts."""
    rows = []
    for name in ("cosine", "square", "cubic", "linear", "root"):
        sides = [[Case(TREE, EXACT, f"Halton, {law} counts", n) for law in ("arccos", name)] for n in STEPS]
        rows.append([name, *(times(ratio_told(report["cases"], *pair)) for pair in sides)])
    return table(" | ".join(["Arccos against", *(f"{n} steps" for n in STEPS)]), rows)


def errors(report: Mapping) -> str:
    cases, rows = report["cases"], []
    for error in (EXACT, NOISE, SMOOTH, BLIND):
        made = [Case(TREE, error, HALTON, n) for n in STEPS]
        rows.append([error, *(divergence(cases, c) for c in made)])
    return table(" | ".join(["Model", *(f"{n} steps" for n in STEPS)]), rows)


def guidance(report: Mapping) -> str:
    cases, rows = report["cases"], []
    for error in (EXACT, WEAK, TARGET):
        made = [Case(CLASSES, error, HALTON, GUIDED_STEPS, w) for w in WEIGHTS]
        rows.append([error, *(divergence(cases, c) for c in made)])
    return table(" | ".join(["Model", *(f"w = {w:g}" for w in WEIGHTS)]), rows)


def zigzag(report: Mapping) -> str:
    cases, rows = report["cases"], []
    for error in (EXACT, WEAK):
        for name in (VANILLA, "Z-Sampling", *(choice.name for choice in ZIGZAGS)):
            made = [Case(WORDS, error, name, budget, 2.0) for budget in BUDGETS[WORDS]]
            if all(has(cases, case, "variation") for case in made):
                figures = [
                    told(of(cases, case, kind), 3, kind == "surprise")
                    for case in made
                    for kind in ("variation", "surprise")
                ]
                rows.append([error, name, *figures])
    heads = [f"{kind}, {budget} passes" for budget in BUDGETS[WORDS] for kind in ("Total variation", "surprise")]
    return table(" | ".join(["Model", "Choice", *heads]), rows)


def regimes(report: Mapping) -> str:
    """What can be said by the corrected p alone, a map and a column at a time."""
    lines = []
    for study, found in report["maps"].items():
        lines.append(f"- **{study}**, against {found['base']}:")
        for column, rows in found["columns"].items():
            if not rows:
                continue
            sure = [(row, own["value"]) for row, own in rows.items() if own["p_of_all"] < SURE]
            better, worse = ([row for row, value in sure if (value > 0) == good] for good in (True, False))
            lines.append(
                f"  - {column} passes: nearer {listed(better)}; farther {listed(worse)}; "
                f"{len(rows) - len(sure)} of {len(rows)} cannot be told."
            )
    return "\n".join(lines) + "\n"


def decoders(report: Mapping) -> str:
    """Of each truth a table: what a decoder needs, and how far from the truth it lies."""
    return "\n".join(f"{model.capitalize()}:\n\n{decoded(report['cases'], model)}" for model in CELLS)


def decoded(cases: Mapping, model: str) -> str:
    """Vanilla, what keeps to its budget, what ends early, and what was made with more passes than cells."""
    made_cases = [(VANILLA, budget) for budget in AS_MANY[model]]
    made_cases += [(choice.name, budget) for choice in STEADY for budget in BUDGETS[model]]
    made_cases += [(choice.name, CELLS[model]) for choice in (ONCE, *ADAPTIVE[model])]
    made_cases += [(choice.name, MANY[model]) for choice in REVISING]
    rows = []
    for name, budget in made_cases:
        made = [Case(model, error, name, budget) for error in (EXACT, NOISE)]
        figures = [
            [f"{cases[case.name]['passes']:.3g}", told(of(cases, case, "variation"), 3)]
            if has(cases, case, "variation")
            else ["–", "–"]
            for case in made
        ]
        if any(figure != ["–", "–"] for figure in figures):
            rows.append([name, *figures[0], *figures[1]])
    return table("Decoder | Passes, exact | Total variation, exact | Passes, noise | Total variation, noise", rows)


PARTS = {
    "setup": setup,
    "expected": expected,
    "summary": summary,
    "claims": claims,
    "known": known,
    "orders": orders,
    "counts": counts,
    "held_out": lambda report: held_out.published(),
    "errors": errors,
    "guidance": guidance,
    "zigzag": zigzag,
    "regimes": regimes,
    "decoders": decoders,
    "spans": lambda report: spans.published(),
}
