"""Plots of schedules, drawn with matplotlib, which is imported when a plot is."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import MGTError
from ..registry import SCHEDULES
from ..schedules.base import MaskSchedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE_POINTS = 257


def schedule_label(schedule: MaskSchedule) -> str:
    """The family's name, and those parameters that are not at their defaults."""
    name = SCHEDULES.name_of(type(schedule))
    changed = {f.name: getattr(schedule, f.name) for f in fields(schedule) if getattr(schedule, f.name) != f.default}
    if "points" in changed:
        changed["points"] = ", ".join(f"{x:g} {y:g}" for x, y in changed["points"])
    shown = ", ".join(f"{key} {value}" for key, value in changed.items())
    return f"{name} ({shown})" if shown else name


def schedule_plot(schedules: Mapping[str, MaskSchedule], steps: int, tokens: int) -> Tensor:
    """gamma(r) and the tokens revealed at each of `steps` steps, any number of schedules side by side.

    tokens: cells of the grid. -> image [1, H, W, 3] float in 0..1.
    """
    if not schedules:
        raise MGTError("there is no schedule to plot; connect at least one")
    figure = new_figure((10, 4))
    curve, bars = figure.subplots(1, 2)
    progress = torch.linspace(0, 1, CURVE_POINTS)
    width = 0.8 / len(schedules)
    for place, (name, schedule) in enumerate(schedules.items()):
        curve.plot(progress.tolist(), schedule.for_tokens(tokens).ratio(progress).tolist(), label=name)
        left = [tokens, *schedule.counts(steps, tokens)]
        revealed = [before - after for before, after in zip(left, left[1:], strict=False)]
        where = [k + 1 + (place - (len(schedules) - 1) / 2) * width for k in range(steps)]
        bars.bar(where, revealed, width=width, label=name)
    curve.set(xlabel="progress r", ylabel="masked fraction γ(r)", xlim=(0, 1), ylim=(0, 1.02), title="Mask schedule")
    bars.set(xlabel="step", ylabel="tokens revealed", title=f"{tokens} tokens in {steps} steps")
    bars.xaxis.get_major_locator().set_params(integer=True)
    for axes in (curve, bars):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return drawn(figure)


def new_figure(inches: tuple[float, float]) -> "Figure":
    """An empty figure that needs no display. Raises MGTError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MGTError("plots need matplotlib, which is not installed: pip install matplotlib") from None
    figure = Figure(figsize=inches, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_plot(figure: "Figure", file: Path, dpi: int = 100, kind: str | None = None) -> None:
    """Write a figure as what its name ends with, or as `kind`. WebP keeps every pixel, in a third of a PNG's bytes."""
    kind = kind or file.suffix.removeprefix(".") or "png"
    whole = {"pil_kwargs": {"lossless": True, "quality": 100, "method": 6}} if kind == "webp" else {}
    figure.savefig(file, format=kind, dpi=dpi, **whole)


def drawn(figure: "Figure") -> Tensor:
    """-> image [1, H, W, 3] float in 0..1."""
    figure.canvas.draw()
    pixels = torch.frombuffer(bytearray(figure.canvas.buffer_rgba()), dtype=torch.uint8)
    columns, rows = figure.canvas.get_width_height()
    return pixels.reshape(1, rows, columns, 4)[..., :3].float() / 255
