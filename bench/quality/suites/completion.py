"""Completion: a few true tokens of a picture are given, an empty prompt, and the rest is to be drawn in 8 steps.

Many pictures go with what is given, so that the tokens of a step have to agree among themselves: what decoding is
about. Given are the four corners, which tell the background, and a few tokens inside the object.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import mgt_core
from recipe.data.scenes import CANVAS, Scene, held_out_scenes
from recipe.data.subjects import load_subjects
from recipe.judge.pictures import render

TUNED = Path(__file__).with_name("tuned.json")
EVERY = 6  # one in so many held-out scenes is for tuning, the others for the evaluation
INSIDE = 0.5  # share of a cell that the object covers where it counts as inside


@functools.cache
def scenes(tuning: bool = False) -> list[Scene]:
    """Single objects on a background that training never showed them on, in a fixed order."""
    everything = held_out_scenes(load_subjects(), 10_000)
    return [scene for place, scene in enumerate(everything) if (place % EVERY == 0) == tuning]


def tuned() -> dict:
    """What `python -m bench.quality.suites.tuning` chose: number of tokens kept inside the object."""
    return json.loads(TUNED.read_text())


def inside(scene: Scene, grid: tuple[int, int]) -> np.ndarray:
    """[h, w] bool: cells that the scene's objects cover by half or more."""
    white, black = render([replace(scene, colour=colour) for colour in ("white", "black")])
    cover = 1 - (white - black).mean(-1)
    height, width = grid
    return cover.reshape(height, CANVAS // height, width, CANVAS // width).mean((1, 3)) >= INSIDE


def kept_cells(scene: Scene, grid: tuple[int, int], kept: int, seed: int) -> np.ndarray:
    """[h, w] bool: the corners, and `kept` cells inside the object, or all of those where there are fewer."""
    cells = np.flatnonzero(inside(scene, grid))
    chosen = np.random.default_rng([seed, 7]).permutation(cells)[:kept]
    found = np.zeros(grid, bool)
    found.flat[chosen] = True
    found[:: grid[0] - 1, :: grid[1] - 1] = True
    return found


class Completion:
    """A suite as `store` draws it. Thing i is scene i of the list, over and over, each time with other cells kept."""

    chunk = 50

    def __init__(self, settings: Mapping, kept: int, seed: int = 0, tuning: bool = False):
        self.settings, self.kept, self.seed, self.tuning = settings, kept, seed, tuning
        self.name = f"completion, {kept} kept{', tuning' if tuning else ''}"
        self.states: dict[int, mgt_core.TokenState] = {}

    def scenes(self, start: int, count: int) -> list[Scene]:
        """Those of the things from the `start`-th on, with the captions that are not told."""
        held = scenes(self.tuning)
        return [held[number % len(held)] for number in range(start, start + count)]

    def begin(self, pipe: mgt_core.Pipeline, start: int) -> tuple[list[Scene], mgt_core.TokenState]:
        here = self.scenes(start, self.chunk)
        if start not in self.states:
            self.states[start] = self.given(pipe, here, start)
        return [replace(scene, caption="") for scene in here], self.states[start]

    def given(self, pipe: mgt_core.Pipeline, here: list[Scene], start: int) -> mgt_core.TokenState:
        """By the inpainting route: true tokens where the picture is kept, masked ones elsewhere."""
        pictures = torch.from_numpy(render(here))
        with torch.inference_mode():
            parts = [mgt_core.encode_image(pipe.model, pipe.codec, part) for part in pictures.split(10)]
        tokens = torch.cat([part.tokens for part in parts])
        whole = replace(parts[0], tokens=tokens, fixed=torch.zeros_like(tokens, dtype=torch.bool))
        cells = [kept_cells(s, whole.grid, self.kept, self.seed + start + i) for i, s in enumerate(here)]
        return mgt_core.mask_tokens(whole, ~torch.from_numpy(np.stack(cells)))

    def truth(self, start: int) -> list[Scene]:
        return self.scenes(start, self.chunk)
