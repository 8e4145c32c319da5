"""Chooses the judge's thresholds and measures how often it is right: `python -m recipe.judge.calibration`

Chosen on compositions of training's kinds and on what the codec makes of them, never on generated pictures; measured
on others, none of whose pairs of subject and background training shows. To be run again for another codec.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import mgt_core

from ..data.open_captions import open_captions
from ..data.scenes import CANVAS, Scene, SceneSampler, evaluation_scenes
from ..data.subjects import COLOURS, load_subjects
from .pictures import reconstruct, render
from .placements import read_scenes, shown
from .scores import share
from .templates import empty, part_templates
from .thresholds import FILE, Thresholds

log = logging.getLogger(__name__)

BEST = 0.95  # share of the codec's pictures of real compositions that count as good drawings
PLACED_AXES = ("place", "arrangement", "count")


def blanks() -> np.ndarray:
    """Every background with nothing on it: [12, 128, 128, 3] float."""
    return np.stack([np.broadcast_to(np.float32(c) / 255, (CANVAS, CANVAS, 3)) for c in COLOURS.values()])


def faintest() -> float:
    """Squared departure of the half-size object that differs the least from its background."""
    found = []
    for colour in COLOURS:
        nothing = empty(colour)[..., : CANVAS // 16, : CANVAS // 16].flatten(1)
        found.append((part_templates(colour) - nothing).square().sum(-1).min())
    return float(min(found))


def chimeras(scenes: list[Scene]) -> np.ndarray:
    """The left half of each picture, and the right half of another scene's objects on the same background."""
    half = CANVAS // 2
    others = [replace(scene, items=other.items) for scene, other in zip(scenes, scenes[1:] + scenes[:1], strict=True)]
    return np.concatenate([render(scenes)[:, :, :half], render(others)[:, :, half:]], 2)


def choose(pipe: mgt_core.Pipeline, count: int) -> Thresholds:
    """departure: half way, in factors, from the codec's blankest picture to the faintest object. residual: what BEST of
    the codec's pictures stay below."""
    everything = Thresholds(0.0, 1.0)
    blank = max(reading.departure for reading in read_scenes(reconstruct(pipe, blanks()), everything))
    departure = math.sqrt(max(blank, 1e-6) * faintest())
    sampler = SceneSampler(load_subjects(), np.random.default_rng(1234))
    rebuilt = reconstruct(pipe, render([sampler.draw() for _ in range(count)]))
    readings = read_scenes(rebuilt, Thresholds(departure, 1.0))
    limit = float(np.quantile([reading.residual for reading in readings], BEST))
    return Thresholds(float(f"{departure:.3g}"), float(f"{limit:.3g}"))


def evaluation(count: int) -> list[Scene]:
    """Scenes of held-out pairs: one object, two, and those of captions that leave a place open."""
    rng = np.random.default_rng(4321)
    each = count // 4
    scenes = evaluation_scenes(load_subjects(), count - len(PLACED_AXES) * each)
    for axis in PLACED_AXES:
        captions = open_captions(load_subjects(), axis, each, seed=4321)
        scenes += [caption.scenes[rng.integers(len(caption.scenes))] for caption in captions]
    return scenes


def measure(pipe: mgt_core.Pipeline, count: int, limits: Thresholds) -> dict:
    """Shares of pictures of which background, objects and places are all read as they are, and of good drawings."""
    scenes = evaluation(count)
    real = render(scenes)
    pictures = {
        "real compositions": real,
        "codec reconstructions": reconstruct(pipe, real),
        "blank pictures, through the codec": reconstruct(pipe, blanks()),
        "halves of two compositions": chimeras([scene for scene in scenes if len(scene.items) == 1]),
    }
    found = {}
    for name, images in pictures.items():
        readings = read_scenes(images, limits)
        found[name] = {
            "valid": share(sum(reading.good for reading in readings), len(readings)),
            "nothing drawn": share(sum(reading.blank for reading in readings), len(readings)),
        }
        if images.shape == real.shape:
            right = sum(reading.shows == shown(scene) for reading, scene in zip(readings, scenes, strict=True))
            found[name]["read right"] = share(right, len(scenes))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipe.judge.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="bundle folder; default: the built-in one")
    parser.add_argument("--scenes", type=int, default=400, help="to choose on, and as many others to measure on")
    parser.add_argument("--into", type=Path, default=FILE)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pipe = mgt_core.load(options.model, dtype=torch.float32)
    chosen = choose(pipe, options.scenes)
    found = {**vars(chosen), "scenes": options.scenes, "measured": measure(pipe, options.scenes, chosen)}
    options.into.write_text(json.dumps(found, indent=1) + "\n")
    log.info(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
