"""Does the demo model draw what it is asked? `python -m recipe.evaluate [--json FILE] [--sheet FILE]`

Prompts pair seen subjects with seen backgrounds in combinations that training never showed: one object, or two in a
named layout. The judge reads the pictures, and they are compared with real compositions of the same prompts.
"""

from __future__ import annotations

import argparse
import json
import logging
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import mgt_core

from .data.scenes import Scene, evaluation_scenes
from .data.subjects import load_subjects
from .judge.pictures import generate, model_settings, reconstruct, render
from .judge.scores import compare, score

log = logging.getLogger(__name__)


def contact_sheet(scenes: list[Scene], images: np.ndarray, verdicts: list, columns: int = 10) -> Image.Image:
    """Labelled grid; what the judge read differently stands in red below its prompt."""
    cell, text = 132, 42
    rows = -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + text)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (scene, image, verdict) in enumerate(zip(scenes, images, verdicts)):
        x, y = index % columns * cell, index // columns * (cell + text)
        picture = Image.fromarray((image * 255).round().astype(np.uint8)).resize((128, 128), Image.Resampling.NEAREST)
        sheet.paste(picture, (x + 2, y + 2))
        pen.rectangle((x + 1, y + 1, x + 130, y + 130), outline=(200, 200, 200))
        for line, words in enumerate(textwrap.wrap(scene.caption, 26)[:2]):
            pen.text((x + 3, y + cell - 1 + 12 * line), words, fill="black", font_size=10)
        if verdict.colour != scene.colour or not verdict.drawn(scene):
            pen.text((x + 3, y + cell + 25), verdict.text[:26], fill="red", font_size=10)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="bundle folder; default: the built-in one")
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--temperature", type=float, nargs=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--sheet-prompts", type=int, default=60, help="how many of the prompts the sheet shows")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    pipe = mgt_core.load(options.model)
    settings = model_settings(pipe)
    settings |= {k: v for k in ("steps", "cfg", "temperature") if (v := getattr(options, k)) is not None}
    settings["temperature"] = tuple(settings["temperature"])
    scenes = evaluation_scenes(load_subjects(), options.prompts)
    started = time.perf_counter()
    images = generate(pipe, scenes, seed=options.seed, sampler="maskgit", **settings)
    seconds = time.perf_counter() - started
    real = render(scenes)
    rebuilt = reconstruct(pipe, real)
    figures, verdicts = score(scenes, images)
    figures = {
        "settings": settings,
        "seed": options.seed,
        "generated": figures | compare(images, real),
        "codec reconstructions": score(scenes, rebuilt)[0] | compare(rebuilt, real),
        "real compositions": score(scenes, real)[0] | {"sharpness": compare(real, real)["sharpness"]},
        "seconds_per_image": round(seconds / len(scenes), 3),
        "threads": torch.get_num_threads(),
    }
    log.info(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.sheet:
        shown = np.linspace(0, len(scenes) - 1, min(options.sheet_prompts, len(scenes))).astype(int)
        contact_sheet([scenes[i] for i in shown], images[shown], [verdicts[i] for i in shown]).save(
            options.sheet, optimize=True, quality=85
        )


if __name__ == "__main__":
    main()
