"""Reads pictures back: which of the 12 backgrounds, which of the subjects. Looks at pixels only.

Built from the sprite atlas; nothing in it was fitted to generated pictures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .compose import CANVAS, NORMAL, Item, Renderer
from .subjects import COLOURS, load_sprites, load_subjects

RING = 2  # the outermost pixels, which a centred object never covers
SIZES = (NORMAL - 4, NORMAL, NORMAL + 4)
CELL = 4  # of the grid on which pictures are compared; also the shift between templates
GRADIENT_WEIGHT = 2.0


@dataclass(frozen=True)
class Verdict:
    """Names, and the object's distance next to that of the runner-up (another subject)."""

    colour: str
    subject: str
    distance: float
    runner_up: str
    runner_up_distance: float


def judge(images: np.ndarray | torch.Tensor) -> list[Verdict]:
    """`images` [B, 64, 64, 3] float in 0..1 -> one verdict each. Other sizes are resampled to 64."""
    pixels = torch.as_tensor(np.asarray(images), dtype=torch.float32).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (CANVAS, CANVAS):
        pixels = F.interpolate(pixels, (CANVAS, CANVAS), mode="area")
    colours = background(pixels)
    features = describe(pixels)
    verdicts: list[Verdict | None] = [None] * len(pixels)
    names = [subject.name for subject in load_subjects()]
    for colour in sorted(set(colours)):
        rows = [row for row, found in enumerate(colours) if found == colour]
        table = _templates(colour)  # [poses, subjects, D]
        nearest = torch.stack([torch.cdist(features[rows], pose) for pose in table]).amin(0)
        best, order = nearest.topk(2, largest=False)
        for row, distances, found in zip(rows, best.tolist(), order.tolist()):
            verdicts[row] = Verdict(colour, names[found[0]], distances[0], names[found[1]], distances[1])
    return verdicts


def background(pixels: torch.Tensor) -> list[str]:
    """[B, 3, 64, 64] -> the named colour that most pixels of the outer ring are nearest to."""
    inner = torch.zeros(CANVAS, CANVAS, dtype=torch.bool)
    inner[RING:-RING, RING:-RING] = True
    ring = pixels[:, :, ~inner].transpose(1, 2)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
    votes = torch.cdist(ring, palette.expand(len(ring), -1, -1)).argmin(-1)
    return [list(COLOURS)[index] for index in votes.mode(1).values.tolist()]


def describe(pixels: torch.Tensor) -> torch.Tensor:
    """[B, 3, 64, 64] -> [B, D]: blurred colour and brightness gradients, on a 16 x 16 grid."""
    return _maps(pixels).flatten(1)


def _maps(pixels: torch.Tensor) -> torch.Tensor:
    """-> [B, 5, 16, 16]"""
    colour = F.avg_pool2d(pixels, CELL)
    grey = F.avg_pool2d(pixels.mean(1, keepdim=True), 2)
    across = F.avg_pool2d(F.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1)), 2)
    down = F.avg_pool2d(F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1)), 2)
    return torch.cat([colour, GRADIENT_WEIGHT * across, GRADIENT_WEIGHT * down], 1)


@functools.lru_cache(maxsize=len(COLOURS))
def _templates(colour: str) -> torch.Tensor:
    """[poses, subjects, D]: every subject on `colour` at a few sizes and places."""
    renderer = Renderer(load_sprites())
    table = []
    for size in SIZES:
        canvas = np.empty((len(load_subjects()), CANVAS, CANVAS, 3), np.float32)
        canvas[:] = np.asarray(COLOURS[colour], np.float32) / 255
        corner = (CANVAS - size) // 2
        for subject in range(len(canvas)):
            renderer.paste(canvas[subject], Item(subject, size, corner, corner))
        maps = _maps(torch.from_numpy(canvas).permute(0, 3, 1, 2))
        # The background is flat and the margin at least a cell, so shifting by cells is rolling.
        table += [maps.roll((y, x), (2, 3)).flatten(1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return torch.stack(table)
