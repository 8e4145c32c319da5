"""The learning curves of a training: `python -m recipe.curves WORK FILE`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mgt_core.files import written_whole
from mgt_core.views.plots import new_figure, write_plot


def draw(codec: list[dict], transformer: list[dict], file: Path) -> None:
    """codec, transformer: entries as the training writes them to codec_curve.json and curve.json."""
    figure = new_figure((9, 3.2))
    panels = (
        (codec, "psnr_db", "decoder: PSNR of training pictures, dB", "#0072b2"),
        (transformer, "loss", "transformer: cross entropy of masked tokens", "#d55e00"),
    )
    for axes, (entries, name, title, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot([entry["seconds"] / 60 for entry in entries], [entry[name] for entry in entries], color=colour)
        axes.set(title=title, xlabel="minutes, shared processor")
        axes.grid(alpha=0.3)
    with written_whole(file) as partial:
        write_plot(figure, partial, kind=file.suffix.removeprefix("."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the training")
    parser.add_argument("file", type=Path, help="picture to write")
    options = parser.parse_args()
    codec, transformer = (json.loads((options.work / name).read_text()) for name in ("codec_curve.json", "curve.json"))
    draw(codec, transformer, options.file)


if __name__ == "__main__":
    main()
