"""What the judge compares pictures with: every subject on every background, at a few sizes and places.

Built from the sprite atlas alone.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F

from ..data.scenes import CANVAS, HALF, NORMAL, Item, Renderer
from ..data.subjects import COLOURS, load_sprites, load_subjects

SIDE = 64  # pictures are read at this size
RING = 2  # the outermost pixels, which a centred object never covers
CELL = 4  # of the grid on which pictures are compared; also the shift between templates
GRID = SIDE // CELL
GRADIENT_WEIGHT = 2.0
WHOLE = NORMAL * SIDE // CANVAS
PART = HALF * SIDE // CANVAS
WIDE = PART // CELL  # cells of a half-size place
STEPS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))  # of templates, in cells
MIDDLE, FAR = (SIDE - PART) // 2 // CELL, (SIDE - PART) // CELL
Place = tuple[int, int]  # upper and left cell


def read(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """[B, H, W, 3] -> [B, 3, 64, 64], the size at which the judge looks."""
    pixels = torch.as_tensor(np.asarray(images), dtype=torch.float32).permute(0, 3, 1, 2)
    return pixels if pixels.shape[-2:] == (SIDE, SIDE) else F.interpolate(pixels, (SIDE, SIDE), mode="area")


def background(pixels: torch.Tensor) -> list[str]:
    """[B, 3, 64, 64] -> the named colour that most pixels of the outer ring are nearest to."""
    inner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inner[RING:-RING, RING:-RING] = True
    ring = pixels[:, :, ~inner].transpose(1, 2)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
    votes = torch.cdist(ring, palette.expand(len(ring), -1, -1)).argmin(-1)
    return [list(COLOURS)[index] for index in votes.mode(1).values.tolist()]


def describe(pixels: torch.Tensor) -> torch.Tensor:
    """[B, 3, 64, 64] -> [B, D]: blurred colour and brightness gradients, on a 16 x 16 grid."""
    return maps(pixels).flatten(1)


def maps(pixels: torch.Tensor) -> torch.Tensor:
    """-> [B, 5, 16, 16]"""
    colour = F.avg_pool2d(pixels, CELL)
    grey = F.avg_pool2d(pixels.mean(1, keepdim=True), 2)
    across = F.avg_pool2d(F.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1)), 2)
    down = F.avg_pool2d(F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1)), 2)
    return torch.cat([colour, GRADIENT_WEIGHT * across, GRADIENT_WEIGHT * down], 1)


def window(place: Place) -> tuple:
    """The cells of a half-size place, of maps [..., 16, 16]."""
    top, left = place
    return np.s_[..., top : top + WIDE, left : left + WIDE]


@functools.lru_cache(maxsize=len(COLOURS))
def empty(colour: str) -> torch.Tensor:
    """[1, 5, 16, 16]: the background with nothing on it."""
    return maps(_canvases(colour, 1, SIDE))


@functools.lru_cache(maxsize=len(COLOURS))
def whole_templates(colour: str) -> torch.Tensor:
    """[poses, subjects, D]: every subject on `colour`, in the middle, at a few sizes and places."""
    table = []
    for size in (WHOLE - 4, WHOLE, WHOLE + 4):
        drawn = maps(_drawn(colour, size, SIDE))
        # The background is flat and the margin at least a cell, so shifting by cells is rolling.
        table += [drawn.roll(step, (2, 3)).flatten(1) for step in STEPS]
    return torch.stack(table)


@functools.lru_cache(maxsize=len(COLOURS))
def large_templates(colour: str) -> torch.Tensor:
    """[poses, subjects, D]: every subject on `colour` as large as the picture."""
    return torch.stack([maps(_drawn(colour, size, SIDE)).flatten(1) for size in (SIDE - 4, SIDE)])


@functools.lru_cache(maxsize=len(COLOURS))
def part_templates(colour: str) -> torch.Tensor:
    """[poses, subjects, D]: what a half-size place shows of every subject on `colour`."""
    table = []
    for size in (PART - 4, PART):
        drawn = maps(_drawn(colour, size, PART + 4 * CELL))  # two cells of background around it, of which one is seen
        table += [drawn[..., 2 - y : 2 - y + WIDE, 2 - x : 2 - x + WIDE].flatten(1) for y, x in STEPS]
    return torch.stack(table)


def nearest(features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """[B, D], [poses, subjects, D] -> [B, subjects], the distance to each subject's nearest pose."""
    return torch.stack([torch.cdist(features, pose) for pose in table]).amin(0)


@functools.cache
def _renderer() -> Renderer:
    return Renderer(load_sprites())  # it keeps what it has resized


def _drawn(colour: str, size: int, side: int) -> torch.Tensor:
    """Every subject once, in the middle: [subjects, 3, side, side]."""
    corner = (side - size) // 2
    canvas = _canvases(colour, len(load_subjects()), side).permute(0, 2, 3, 1).contiguous().numpy()
    for subject in range(len(canvas)):
        _renderer().paste(canvas[subject], Item(subject, size, corner, corner))
    return torch.from_numpy(canvas).permute(0, 3, 1, 2)


def _canvases(colour: str, count: int, side: int) -> torch.Tensor:
    return (torch.tensor(COLOURS[colour]) / 255).view(1, 3, 1, 1).expand(count, 3, side, side)
