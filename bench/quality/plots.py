"""Plots of the report: one figure a sweep, and the win rates of all choices."""

from collections.abc import Mapping
from pathlib import Path

from mgt_core.views.plots import new_figure, write_plot

from .cases import VANILLA
from .report import point

# Okabe and Ito's colours, which people with any colour vision tell apart; markers differ as well.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
SHARES = {"background": (GREY, "s"), "object": (BLUE, "o"), "layout": (ORANGE, "^")}
MEANS = {
    "diversity": "diversity (between two seeds)",
    "sharpness": "sharpness",
    "frechet": "Fréchet distance",
}
# How it is called in the report, shift on the axis, colour, marker, label.
COMPARED = (
    ("against_vanilla", 0.0, BLUE, "o", "equal steps"),
    ("against_equal_passes", -0.26, ORANGE, "D", "equal passes"),
)
DPI = 100
EVEN, ZERO = {"share": 0.5, "interval95": [0.5, 0.5]}, {"value": 0.0, "interval95": [0.0, 0.0]}  # vanilla by itself


def draw_all(report: Mapping, folder: Path) -> None:
    """Every plot of the report, as WebP files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sweep in report["sweeps"].items():
        write_plot(sweep_plot(report, name, sweep), folder / f"{name}.webp", DPI)
    write_plot(forest(report), folder / "win_rates.webp", DPI)


def bars(axes, places, figures, *, colour: str, marker: str, line: bool, label: str | None = None) -> None:
    """Values with their 95 % intervals. figures: what has `interval95` and `value` or `share`."""
    values = [figure.get("value", figure.get("share")) for figure in figures]
    ends = [figure["interval95"] for figure in figures]
    reach = [[v - low for v, (low, _) in zip(values, ends)], [high - v for v, (_, high) in zip(values, ends)]]
    style = {"color": colour, "marker": marker, "label": label, "linestyle": "-" if line else "none"}
    reach = [[max(r, 0) for r in side] for side in reach]
    axes.errorbar(places, values, reach, capsize=3, markersize=5, lw=1.2, **style)


def sweep_plot(report: Mapping, name: str, sweep: Mapping):
    """Shares, what is won against vanilla and the judge's means over the values of one setting; vanilla's is shaded."""
    values, cases = zip(*((value, point(report, case)) for value, case in sweep["points"]))
    own = [case for _, case in sweep["points"]].index(VANILLA)
    numeric = all(isinstance(value, (int, float)) for value in values)
    spread = numeric and not sweep["logarithmic"]
    places = list(values) if spread else list(range(len(values)))
    width = (max(places) - min(places)) or 1
    figure = new_figure((12, 6.4))
    panels = figure.subplots(2, 3)
    shares, wins, nearer, *others = panels.flat
    for shift, (kind, (colour, marker)) in enumerate(SHARES.items()):
        moved = [place + (shift - 1) * 0.012 * width for place in places]
        bars(shares, moved, [c[kind] for c in cases], colour=colour, marker=marker, line=numeric, label=kind)
    shares.set(title="read back right", ylim=(-0.03, 1.03))
    shares.legend(fontsize=8, loc="lower left")
    won = [case["against_vanilla"]["win_rate"] if "against_vanilla" in case else EVEN for case in cases]
    bars(wins, places, won, colour=BLUE, marker="o", line=False)
    wins.axhline(0.5, color=GREY, lw=1)
    wins.set(title="win rate against vanilla", ylim=(-0.03, 1.03))
    changes = [case["against_vanilla"]["distance_change"] if "against_vanilla" in case else ZERO for case in cases]
    bars(nearer, places, changes, colour=BLUE, marker="o", line=numeric)
    nearer.axhline(0, color=GREY, lw=1)
    nearer.set(title="distance against vanilla's, change in %")
    for axes, (kind, title) in zip(others, MEANS.items()):
        bars(axes, places, [case[kind] for case in cases], colour=BLUE, marker="o", line=numeric)
        axes.set(title=title)
        axes.margins(y=0.15)
    near = 0.02 * width if spread else 0.3
    for axes in panels.flat:
        axes.axvspan(places[own] - near, places[own] + near, color=GREEN, alpha=0.15, lw=0)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        turned = 0 if numeric else 35
        labels = [f"{v:g}" if numeric else v for v in values]
        axes.set_xticks(places, labels, rotation=turned, ha="center" if numeric else "right", fontsize=8)
    figure.suptitle(f"{sweep['axis'].capitalize()} (95 % intervals; vanilla's own value shaded)", fontsize=12)
    figure.supxlabel(sweep["axis"], fontsize=10)
    return figure


def forest(report: Mapping):
    """Win rate of every choice with its interval, against vanilla at equal steps and at equal passes."""
    names = [name for name in report["choices"] if name != VANILLA][::-1]
    figure = new_figure((9.5, 1.4 + 0.3 * len(names)))
    axes = figure.subplots()
    axes.axvline(50, color=GREY, lw=1)
    for kind, shift, colour, marker, label in COMPARED:
        held = [(row, report["cases"][name].get(kind)) for row, name in enumerate(names)]
        told = [(row, against["win_rate"]) for row, against in held if against]
        if not told:
            continue
        shares = [100 * rate["share"] for _, rate in told]
        reach = [
            [100 * (rate["share"] - rate["interval95"][0]) for _, rate in told],
            [100 * (rate["interval95"][1] - rate["share"]) for _, rate in told],
        ]
        rows = [row + shift for row, _ in told]
        axes.errorbar(shares, rows, xerr=reach, fmt=marker, color=colour, capsize=2, markersize=5, lw=1.2, label=label)
        for row, share, (_, rate) in zip(rows, shares, told):
            if rate["p_of_all"] < 0.05:
                axes.plot(share, row, marker, markersize=10, fillstyle="none", color=colour)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(xlim=(0, 100), ylim=(-0.8, len(names) - 0.3))
    axes.set_xlabel("win rate against vanilla, % of prompts (95 % interval)")
    axes.set_title("Nearer to what was asked for than vanilla? (ringed: p < 0.05 after Holm)", fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure
