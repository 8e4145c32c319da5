"""Plots of the report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mgt_core.views.plots import new_figure

from .. import regimes
from .choices import HALTON, ON_VANILLA, ORDERS, VANILLA
from .figures import has, of
from .plan import BUDGETS, GUIDED_STEPS, PLANE, STEPS, WEIGHTS, Case
from .settings import BLIND, CLASSES, EXACT, NOISE, SMOOTH, TARGET, TREE, WEAK, WEAK_FIELD, WORDS

SURE = 0.05
DPI = 90
# Okabe and Ito's colours, which people with any colour vision tell apart; markers differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777", "#000000")
MARKERS = "os^Dvphx"
TITLES = {
    "on logits": "Halton order on the tree: KL, in hundredths of a nat a token, less than with cosine counts alone",
    "field": "Strong field: total variation, in points, less than vanilla's",
    "words": "Words: total variation of the modes, in points, less than vanilla's",
    "decoders, field": "Decoders on the strong field: total variation, in points, less than vanilla's",
    "decoders, words": "Decoders on words: total variation of the modes, in points, less than vanilla's",
}
NOTE = "more is better; columns: error of the model, passes; green, red: p < 0.05 after Holm's method within a column"


def draw_all(report: Mapping, folder: Path) -> None:
    """Every plot of the report, as WebP files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = report["cases"]
    for name, figure in {"passes": passes(cases), "steps": steps(cases), "plane": plane(cases)}.items():
        figure.savefig(folder / f"{name}.webp", dpi=DPI)
    for name, told in report["maps"].items():
        regime_map(name, told, folder / f"{name.replace(',', '').replace(' ', '_')}.webp")


def curve(axes, cases: Mapping, made: Sequence[tuple[float, Case]], figure: str, place: int, label: str) -> None:
    """A figure over some axis, with 95 % intervals."""
    points = [(x, of(cases, case, figure)) for x, case in made if has(cases, case, figure)]
    if points:
        style = {"color": COLOURS[place % 8], "marker": MARKERS[place % 8], "capsize": 2, "markersize": 4, "lw": 1.2}
        values, reach = [e.value for _, e in points], [1.96 * e.error for _, e in points]
        axes.errorbar([x for x, _ in points], values, reach, label=label, **style)


def passes(cases: Mapping):
    """KL against passes: orders and counts with the exact model, then Halton order with errors; and guidance."""
    figure = new_figure((14, 4.6))
    left, middle, right = figure.subplots(1, 3)
    for place, choice in enumerate(ORDERS):
        made = [(n, Case(TREE, EXACT, choice.name, n)) for n in STEPS]
        curve(left, cases, made, "kl", place, choice.name)
    for place, error in enumerate((EXACT, NOISE, SMOOTH, BLIND)):
        curve(middle, cases, [(n, Case(TREE, error, HALTON, n)) for n in STEPS], "kl", place, error)
    for place, error in enumerate((EXACT, WEAK, TARGET)):
        made = [(w, Case(CLASSES, error, HALTON, GUIDED_STEPS, w)) for w in WEIGHTS]
        curve(right, cases, made, "kl", place, error)
    left.set(title="tree, exact model: orders and counts", xlabel="passes")
    middle.set(title=f"tree, {HALTON}: errors of the model", xlabel="passes")
    right.set(title=f"tree of classes, {GUIDED_STEPS} steps: guidance", xlabel="guidance w")
    for axes in (left, middle):
        axes.set_xscale("log", base=2)
        axes.set_xticks(STEPS, [str(n) for n in STEPS])
    for axes in (left, middle, right):
        axes.set(yscale="log", ylabel="KL(q‖p), nats a token")
        finished(axes)
    return figure


def steps(cases: Mapping):
    """Total variation on the weak field from one step to one cell a step."""
    figure = new_figure((7, 4.2))
    axes = figure.subplots()
    for place, choice in enumerate((VANILLA, "noise regularization 2", HALTON)):
        made = [(n, Case(WEAK_FIELD, EXACT, choice, n)) for n in range(1, 10)]
        curve(axes, cases, made, "variation", place, choice)
    first = Case(WEAK_FIELD, EXACT, VANILLA, 9)
    if has(cases, first, "null"):
        axes.axhline(
            of(cases, first, "null_high").value, color="#777777", ls="--", lw=1, label="exact pictures, 97.5 %"
        )
    axes.set(title="weak field, exact model", xlabel="steps", ylabel="total variation from the truth", ylim=(0, None))
    finished(axes)
    return figure


def plane(cases: Mapping):
    """Surprise against diversity, exact models. The tree's codes are all alike, so that its pictures cannot grow alike:
    what is lost there is lost within a picture."""
    figure = new_figure((12.5, 5))
    panels = figure.subplots(1, 2)
    shown = (
        (TREE, PLANE, "far", -1, "within a picture: cells 8 apart that differ"),
        (WORDS, BUDGETS[WORDS][-1], "diversity", 1, "between pictures: cells that differ in two of them"),
    )
    for axes, (model, budget, figures, sign, label) in zip(panels, shown):
        axes.axhline(0, color="#BBBBBB", lw=1)
        axes.axvline(0, color="#BBBBBB", lw=1)
        axes.plot(0, 0, "*", color="black", markersize=14, label="the truth")
        for place, name in enumerate((VANILLA, *(choice.name for choice in ON_VANILLA))):
            case = Case(model, EXACT, name, budget)
            if not has(cases, case, figures):
                continue
            across, up = (of(cases, case, kind) for kind in (figures, "surprise"))
            style = {
                "color": COLOURS[place % 8],
                "marker": MARKERS[(place + place // 8) % 8],
                "capsize": 2,
                "ls": "none",
            }
            reach = {"xerr": 1.96 * across.error, "yerr": 1.96 * up.error}
            axes.errorbar(sign * across.value, up.value, **reach, **style, label=name, markersize=6)
        axes.set(title=f"{model}, {budget} passes", xlabel=f"{label}, beyond the truth")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("surprise: -log p beyond the entropy, nats a token")
    if len(handles := panels[1].get_legend_handles_labels()[0]):
        figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
    return figure


def finished(axes, **where) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, **where)


def regime_map(study: str, told: Mapping, file: Path) -> None:
    names = {column: column.replace(", ", "\n") for column, rows in told["columns"].items() if rows}
    cells = {
        (row, names[column]): regimes.Cell(own["value"], own["interval95"], own["p_of_all"] < SURE)
        for column, rows in told["columns"].items()
        for row, own in rows.items()
        if math.isfinite(own["value"])
    }
    rows = [row for row in told["rows"] if any((row, name) in cells for name in names.values())]
    regimes.draw(rows, list(names.values()), cells, file, TITLES[study], NOTE, digits=1)
