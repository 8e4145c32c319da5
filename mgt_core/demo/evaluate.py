"""Does the demo model draw what it is asked? `python -m mgt_core.demo.evaluate [--json FILE] [--sheet FILE]`

Prompts pair seen subjects with seen backgrounds in combinations that training never showed.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from .compose import Renderer, Scene, held_out_scenes
from .judge import Verdict, judge
from .subjects import load_sprites, load_subjects

log = logging.getLogger(__name__)

BATCH = 20


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return middle - half, middle + half


def score(scenes: list[Scene], images: np.ndarray) -> tuple[dict, list[Verdict]]:
    """Shares of right backgrounds and objects, with intervals, for `images` [B, 64, 64, 3] of plain scenes."""
    verdicts = judge(images)
    names = [load_subjects()[scene.items[0].subject].name for scene in scenes]
    grounds = sum(v.colour == s.colour for v, s in zip(verdicts, scenes))
    objects = sum(v.subject == name for v, name in zip(verdicts, names))
    total = len(scenes)
    figures = {
        key: {"hits": hits, "of": total, "share": round(hits / total, 4),
              "interval95": [round(end, 4) for end in wilson(hits, total)]}
        for key, hits in (("background", grounds), ("object", objects))
    }
    return figures, verdicts


def generate(pipe, scenes: list[Scene], *, seed: int = 0, **settings) -> np.ndarray:
    """One image per scene, [B, 64, 64, 3] float32; `settings` go to `mgt_core.sample`."""
    from .. import empty_tokens, sample

    images = []
    size = pipe.size
    for start in range(0, len(scenes), BATCH):
        prompts = [scene.caption for scene in scenes[start : start + BATCH]]
        positive, negative = pipe.text.encode(prompts, size=size), pipe.text.encode([""] * len(prompts), size=size)
        state = empty_tokens(pipe, height=size[0], width=size[1], batch=len(prompts))
        state = sample(pipe.model, state, positive, negative, seed=seed + start, **settings)
        images.append(pipe.codec.decode(state).float().cpu().numpy())
    return np.concatenate(images)


def contact_sheet(scenes: list[Scene], images: np.ndarray, verdicts: list[Verdict], columns: int = 10) -> Image.Image:
    """Labelled grid at twice the size; what the judge read differently stands in red below its prompt."""
    cell, text = 132, 30
    rows = -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + text)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (scene, image, verdict) in enumerate(zip(scenes, images, verdicts)):
        x, y = index % columns * cell, index // columns * (cell + text)
        picture = Image.fromarray((image * 255).round().astype(np.uint8)).resize((128, 128), Image.Resampling.NEAREST)
        sheet.paste(picture, (x + 2, y + 2))
        pen.rectangle((x + 1, y + 1, x + 130, y + 130), outline=(200, 200, 200))
        name = load_subjects()[scene.items[0].subject].name
        pen.text((x + 3, y + cell - 1), f"{name}, {scene.colour}"[:24], fill="black", font_size=10)
        if (verdict.subject, verdict.colour) != (name, scene.colour):
            pen.text((x + 3, y + cell + 12), f"{verdict.subject}, {verdict.colour}"[:24], fill="red", font_size=10)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="bundle folder; default: the built-in one")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--temperature", type=float, nargs=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--sheet-prompts", type=int, default=60, help="how many of the prompts the sheet shows")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from .. import load

    pipe = load(options.model)
    settings = {"steps": 24, "cfg": 2.0, "temperature": (0.5, 0.0)} | dict(pipe.model.defaults)
    settings |= {k: v for k in ("steps", "cfg", "temperature") if (v := getattr(options, k)) is not None}
    settings["temperature"] = tuple(settings["temperature"])
    scenes = held_out_scenes(load_subjects(), options.prompts)
    started = time.perf_counter()
    images = generate(pipe, scenes, seed=options.seed, sampler="maskgit", schedule="cosine", **settings)
    seconds = time.perf_counter() - started
    figures, verdicts = score(scenes, images)
    renderer = Renderer(load_sprites())
    real, _ = score(scenes, np.stack([renderer.render(scene) for scene in scenes]))
    figures = {"settings": settings, "seed": options.seed, "generated": figures, "real compositions": real,
               "seconds_per_image": round(seconds / len(scenes), 3), "threads": torch.get_num_threads()}
    log.info(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.sheet:
        shown = slice(0, options.sheet_prompts)
        contact_sheet(scenes[shown], images[shown], verdicts[shown]).save(options.sheet, optimize=True)


if __name__ == "__main__":
    main()
