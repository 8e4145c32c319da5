"""Plots of the suites: the regime map, and validity against coverage."""

import math
from collections.abc import Mapping
from pathlib import Path

from mgt_core.views.plots import new_figure, write_plot

from ... import regimes
from ..cases import VANILLA
from .report import ALL
from .store import CODEC

SURE = 0.05
DPI = 100
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
# One setting at a time, through vanilla: what a line joins, and how it is drawn.
LINES = {
    "guidance 1, 2, 4": ((VANILLA, "guidance 2", "guidance 4"), ORANGE, "o"),
    "confidence noise 0, own, 2, 8": (
        ("hotter confidence, 0 → 0", VANILLA, "hotter confidence, 2 → 0", "hotter confidence, 8 → 0"),
        BLUE,
        "s",
    ),
    "steps 1, 4, 8": (("vanilla, 1 step", "vanilla, 4 steps", VANILLA), GREEN, "^"),
}
MARKS = "DvPX*<>hpd"


def draw_suites(report: Mapping, folder: Path) -> None:
    regime_map(report, folder / "regimes.webp")
    write_plot(tradeoff(report["suites"]["open"]), folder / "tradeoff.webp", DPI)


def regime_map(report: Mapping, file: Path) -> None:
    told = report["regimes"]
    cells = {
        (row, column): regimes.Cell(own["value"], own["interval95"], own["p_of_all"] < SURE)
        for column, rows in told["columns"].items()
        for row, own in rows.items()
    }
    shown = [column for column, rows in told["columns"].items() if rows]
    names = {column: column.replace(", ", "\n").replace("named prompts", "named\nprompts") for column in shown}
    cells = {(row, names[column]): cell for (row, column), cell in cells.items()}
    regimes.draw(
        told["rows"],
        list(names.values()),
        cells,
        file,
        "What a choice changes against vanilla, in percent points; more is better",
        "green, red: told from vanilla (p < 0.05 after Holm's correction, of what a hypothesis named over those, of "
        "the rest over the column);\nbelow: 95 % interval, where captions are enough for one; "
        "coverage: what the total variation falls by; named prompts: win rate beyond 50 %",
    )


def tradeoff(suites: Mapping):
    """A panel for all axes and one an axis: valid pictures against what they cover."""
    axes_of = [ALL, *(axis for axis in suites if axis != ALL)]
    figure = new_figure((14, 7))
    panels = figure.subplots(2, 4).flatten()
    others = [name for name in suites[ALL] if not any(name in line[0] for line in LINES.values())]
    for panel, axis in zip(panels, axes_of):
        cases = suites[axis]
        for label, (names, colour, mark) in LINES.items():
            line(panel, cases, names, colour=colour, marker=mark, label=label, linestyle="-", bars=axis == ALL)
        for number, name in enumerate(name for name in others if name != CODEC.name):
            line(panel, cases, (name,), color=None, marker=MARKS[number % len(MARKS)], label=name, bars=axis == ALL)
        line(panel, cases, (CODEC.name,), colour="black", marker="*", label="the truth, through the codec", size=11)
        panel.axhline(0, color=GREY, lw=0.8)
        panel.invert_yaxis()
        panel.margins(0.12)
        panel.set_title(axis if axis != ALL else "all of them (95 % intervals)", fontsize=10)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles = panels[0].get_legend_handles_labels()
    for panel in panels[len(axes_of) :]:
        panel.set_axis_off()
    panels[-1].legend(*handles, fontsize=7, loc="center", frameon=False)
    figure.supxlabel("valid pictures", fontsize=10)
    figure.supylabel("total variation beyond chance (up: covers more)", fontsize=10)
    return figure


def line(panel, cases: Mapping, names, *, bars=False, colour=None, color=None, size=6, linestyle="none", **style):
    """Points (valid, excess total variation) of some cases, joined in their order."""
    held = [cases[name] for name in names if name in cases and "excess" in cases[name]]
    if not held:
        return
    x, y = [case["valid"]["share"] for case in held], [case["excess"]["value"] for case in held]
    if bars:
        ends = [(case["valid"]["interval95"], case["excess"]["interval95"] or (math.inf, -math.inf)) for case in held]
        across = [[max(v - e[0][0], 0) for v, e in zip(x, ends)], [max(e[0][1] - v, 0) for v, e in zip(x, ends)]]
        up = [[max(v - e[1][0], 0) for v, e in zip(y, ends)], [max(e[1][1] - v, 0) for v, e in zip(y, ends)]]
        panel.errorbar(x, y, up, across, color=colour or GREY, linestyle="none", lw=0.7, alpha=0.6)
    panel.plot(x, y, color=colour, markersize=size, linestyle=linestyle, **style)
