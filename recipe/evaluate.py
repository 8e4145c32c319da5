"""Does the demo model draw what it is asked? `python -m recipe.evaluate [--json FILE] [--sheet FILE]`

Prompts pair seen subjects with seen backgrounds in combinations that training never showed: one object, or two in a
named layout. The judge reads the pictures, and they are compared with real compositions of the same prompts.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from .data.scenes import CANVAS, Renderer, Scene, evaluation_scenes
from .data.subjects import load_sprites, load_subjects
from .export import DEFAULTS
from .judge.picture_metrics import covered, frechet, jackknife, reduce, sharpness
from .judge.reading import PairVerdict, Verdict, describe, judge, judge_pairs, read

log = logging.getLogger(__name__)

BATCH = 20


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return middle - half, middle + half


def share(hits: int, total: int) -> dict:
    ends = [round(end, 4) for end in wilson(hits, total)]
    return {"hits": hits, "of": total, "share": round(hits / total, 4), "interval95": ends}


def score(scenes: list[Scene], images: np.ndarray) -> tuple[dict, list[Verdict | PairVerdict]]:
    """What the judge reads in `images` [B, H, W, 3]: shares of right backgrounds, of right objects among scenes of one
    object ("object"), and of both objects in their places among scenes of two ("layout"), with intervals."""
    verdicts: list[Verdict | PairVerdict | None] = [None] * len(scenes)
    figures = {}
    for name, count, read_as in (("object", 1, judge), ("layout", 2, judge_pairs)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.items) == count]
        if not rows:
            continue
        for row, verdict in zip(rows, read_as(images[rows])):
            verdicts[row] = verdict
        figures[name] = share(sum(verdicts[row].drawn(scenes[row]) for row in rows), len(rows))
    grounds = sum(v.colour == s.colour for v, s in zip(verdicts, scenes))
    return {"background": share(grounds, len(scenes)), **figures}, verdicts


def compare(images: np.ndarray, real: np.ndarray) -> dict:
    """Sharpness, and distances to the real compositions of the same prompts; both [B, H, W, 3]."""
    features = [describe(read(pictures)) for pictures in (real, images)]
    own, other = reduce(*features)
    steep = sharpness(sized(images)).numpy()
    error = 1.96 * steep.std(ddof=1) / math.sqrt(len(steep))
    return {
        "sharpness": _interval(steep.mean(), (steep.mean() - error, steep.mean() + error)),
        "frechet": _interval(frechet(own, other), jackknife(frechet, own, other)),
        "precision": share(int(covered(other, own).sum()), len(other)),
        "recall": share(int(covered(own, other).sum()), len(own)),
    }


def _interval(value: float, ends: tuple[float, float]) -> dict:
    return {"value": round(float(value), 4), "interval95": [round(float(end), 4) for end in ends]}


def sized(images: np.ndarray) -> torch.Tensor:
    """Pictures of another size are compared at the model's own."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (CANVAS, CANVAS):
        pixels = F.interpolate(pixels, (CANVAS, CANVAS), mode="bilinear", antialias=True)
    return pixels.permute(0, 2, 3, 1)


def model_settings(pipe) -> dict:
    """Steps, guidance, temperature and schedule that the bundle recommends, else those of the built-in model."""
    settings = {**DEFAULTS, **pipe.model.defaults}
    return settings | {"temperature": tuple(settings["temperature"])}


def generate(pipe, scenes: list[Scene], *, seed: int = 0, **settings) -> np.ndarray:
    """One image per scene, [B, H, W, 3] float32; `settings` go to `mgt_core.sample`."""
    from mgt_core import empty_tokens, sample

    images = []
    size = pipe.size
    for start in range(0, len(scenes), BATCH):
        prompts = [scene.caption for scene in scenes[start : start + BATCH]]
        positive, negative = pipe.text.encode(prompts, size=size), pipe.text.encode([""] * len(prompts), size=size)
        state = empty_tokens(pipe, height=size[0], width=size[1], batch=len(prompts))
        state = sample(pipe.model, state, positive, negative, seed=seed + start, **settings)
        images.append(pipe.codec.decode(state).float().cpu().numpy())
    return np.concatenate(images)


@torch.inference_mode()
def reconstruct(pipe, images: np.ndarray) -> np.ndarray:
    """Through the codec and back."""
    height, width = pipe.size
    pixels = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (height, width), mode="area")
    parts = pixels.permute(0, 2, 3, 1).split(BATCH)
    return np.concatenate([pipe.codec.decode(pipe.codec.encode(part)).float().cpu().numpy() for part in parts])


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

    from mgt_core import load

    pipe = load(options.model)
    settings = model_settings(pipe)
    settings |= {k: v for k in ("steps", "cfg", "temperature") if (v := getattr(options, k)) is not None}
    settings["temperature"] = tuple(settings["temperature"])
    scenes = evaluation_scenes(load_subjects(), options.prompts)
    started = time.perf_counter()
    images = generate(pipe, scenes, seed=options.seed, sampler="maskgit", **settings)
    seconds = time.perf_counter() - started
    renderer = Renderer(load_sprites())
    real = np.stack([renderer.render(scene) for scene in scenes])
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
            options.sheet, optimize=True
        )


if __name__ == "__main__":
    main()
