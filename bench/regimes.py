"""The regime map: which choice helps where, a cell each, from any bench."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgt_core.views.plots import new_figure, write_plot

# Okabe and Ito's green and vermilion, lightened so that black figures can be read on them.
BETTER, WORSE, UNTOLD, MISSING = "#7FCFB5", "#F0A583", "#E4E4E4", "#FFFFFF"
DPI = 110


@dataclass(frozen=True)
class Cell:
    """A choice in a regime. value: the change against vanilla, more being better; interval: its 95 % one, where there
    is one; sure: whether it can be told from none after correction for many tests. text: what stands above the
    interval, by default the value in percent points."""

    value: float
    interval: Sequence[float] | None
    sure: bool
    text: str | None = None

    @property
    def colour(self) -> str:
        return UNTOLD if not self.sure else BETTER if self.value > 0 else WORSE


def draw(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], Cell],
    file: Path,
    title: str = "",
    note: str = "",
    digits: int = 0,
) -> None:
    """A table of `rows` (choices) by `columns` (regimes), green, grey or red, as a picture. cells: by (row, column);
    what was not measured stays white. digits: of points behind the decimal point."""
    figure = new_figure((3.0 + 0.86 * len(columns), 1.6 + 0.4 * len(rows)))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            cell = cells.get((row, column))
            axes.barh(y, 0.96, 0.92, x - 0.48, color=cell.colour if cell else MISSING)
            if cell is None:
                axes.text(x, y, "–", ha="center", va="center", fontsize=8, color="#888888")
                continue
            text = cell.text or f"{100 * cell.value:+.{digits}f}"
            axes.text(x, y - 0.17, text, ha="center", va="center", fontsize=9, weight="bold" if cell.sure else "normal")
            ends = " to ".join(f"{100 * end:+.{digits}f}" for end in cell.interval or ())
            axes.text(x, y + 0.24, ends, ha="center", va="center", fontsize=6.5, color="#333333")
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    if note:
        figure.supxlabel(note, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_plot(figure, file, DPI)
