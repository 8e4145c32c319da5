"""Reads pictures back: which of the 12 backgrounds, which of the subjects, which two and where. Looks at pixels only.

Built from the sprite atlas; nothing in it was fitted to generated pictures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data.scenes import CANVAS, HALF, NORMAL, Item, Renderer, Scene
from ..data.subjects import COLOURS, load_sprites, load_subjects

SIDE = 64  # pictures are read at this size
RING = 2  # the outermost pixels, which a centred object never covers
CELL = 4  # of the grid on which pictures are compared; also the shift between templates
GRID = SIDE // CELL
GRADIENT_WEIGHT = 2.0
WHOLE = NORMAL * SIDE // CANVAS
PART = HALF * SIDE // CANVAS
STEPS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))  # of templates, in cells
_MIDDLE, _FAR = (SIDE - PART) // 2 // CELL, (SIDE - PART) // CELL
# Top and left cell of the places that two objects take.
ARRANGEMENTS = {"side by side": ((_MIDDLE, 0), (_MIDDLE, _FAR)), "stacked": ((0, _MIDDLE), (_FAR, _MIDDLE))}


@dataclass(frozen=True)
class Verdict:
    """Names, and the object's distance next to that of the runner-up (another subject)."""

    colour: str
    subject: str
    distance: float
    runner_up: str
    runner_up_distance: float

    @property
    def text(self) -> str:
        return f"{self.subject}, {self.colour}"

    def drawn(self, scene: Scene) -> bool:
        return self.subject == load_subjects()[scene.items[0].subject].name


@dataclass(frozen=True)
class PairVerdict:
    """The two subjects in reading order, left before right or upper before lower."""

    colour: str
    arrangement: str
    subjects: tuple[str, str]
    distance: float

    @property
    def text(self) -> str:
        return f"{(' | ' if self.arrangement == 'side by side' else ' / ').join(self.subjects)}, {self.colour}"

    def drawn(self, scene: Scene) -> bool:
        """Both subjects, each in the place that was asked for."""
        items = sorted(scene.items, key=lambda item: (item.top, item.left))
        arrangement = "side by side" if items[0].top == items[1].top else "stacked"
        names = tuple(load_subjects()[item.subject].name for item in items)
        return (arrangement, names) == (self.arrangement, self.subjects)


def judge(images: np.ndarray | torch.Tensor) -> list[Verdict]:
    """Pictures of one object, [B, H, W, 3] float in 0..1 -> one verdict each."""
    pixels = read(images)
    colours, features = background(pixels), describe(pixels)
    verdicts: list[Verdict | None] = [None] * len(pixels)
    names = [subject.name for subject in load_subjects()]
    for colour in sorted(set(colours)):
        rows = [row for row, found in enumerate(colours) if found == colour]
        table = _templates(colour)  # [poses, subjects, D]
        distances = torch.stack([torch.cdist(features[rows], pose) for pose in table]).amin(0)
        best, order = distances.topk(2, largest=False)
        for row, near, found in zip(rows, best.tolist(), order.tolist()):
            verdicts[row] = Verdict(colour, names[found[0]], near[0], names[found[1]], near[1])
    return verdicts


def judge_pairs(images: np.ndarray | torch.Tensor) -> list[PairVerdict]:
    """Pictures of two objects, [B, H, W, 3] float in 0..1 -> one verdict each.

    Each place is read by itself; the arrangement is the one that leaves less of the picture unexplained.
    """
    pixels = read(images)
    colours, maps = background(pixels), _maps(pixels)
    verdicts: list[PairVerdict | None] = [None] * len(pixels)
    names = [subject.name for subject in load_subjects()]
    for colour in sorted(set(colours)):
        rows = [row for row, found in enumerate(colours) if found == colour]
        table, wide = _part_templates(colour), PART // CELL
        empty = _maps(_canvases(colour, 1, SIDE))
        aside = (maps[rows] - empty).square().sum(1)  # [rows, GRID, GRID]
        readings = []
        for arrangement, places in ARRANGEMENTS.items():
            left_over, found = aside.sum((1, 2)), []
            for top, left in places:
                window = np.s_[..., top : top + wide, left : left + wide]
                here = maps[rows][window].flatten(1)
                near, which = torch.stack([torch.cdist(here, pose) for pose in table]).amin(0).min(1)
                left_over = left_over - aside[window].sum((1, 2)) + near.square()
                found.append(which.tolist())
            readings.append((arrangement, left_over.tolist(), found))
        for place, row in enumerate(rows):
            arrangement, left_over, found = min(readings, key=lambda reading: reading[1][place])
            subjects = names[found[0][place]], names[found[1][place]]
            verdicts[row] = PairVerdict(colour, arrangement, subjects, max(left_over[place], 0.0) ** 0.5)
    return verdicts


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
    table = []
    for size in (WHOLE - 4, WHOLE, WHOLE + 4):
        maps = _maps(_drawn(colour, size, SIDE, (0, 0)))
        # The background is flat and the margin at least a cell, so shifting by cells is rolling.
        table += [maps.roll(step, (2, 3)).flatten(1) for step in STEPS]
    return torch.stack(table)


@functools.lru_cache(maxsize=len(COLOURS))
def _part_templates(colour: str) -> torch.Tensor:
    """[poses, subjects, D]: what a place of half the side shows of every subject on `colour`."""
    inner = np.s_[..., 1:-1, 1:-1]  # a cell of background around it, as in the picture
    table = [
        _maps(_drawn(colour, size, PART + 2 * CELL, (y * CELL, x * CELL)))[inner].flatten(1)
        for size in (PART - 4, PART)
        for y, x in STEPS
    ]
    return torch.stack(table)


def _drawn(colour: str, size: int, side: int, shift: tuple[int, int]) -> torch.Tensor:
    """Every subject once, `shift` pixels (down, right) off the middle: [subjects, 3, side, side]."""
    renderer, corner = Renderer(load_sprites()), (side - size) // 2
    canvas = _canvases(colour, len(load_subjects()), side).permute(0, 2, 3, 1).contiguous().numpy()
    for subject in range(len(canvas)):
        renderer.paste(canvas[subject], Item(subject, size, corner + shift[1], corner + shift[0]))
    return torch.from_numpy(canvas).permute(0, 3, 1, 2)


def _canvases(colour: str, count: int, side: int) -> torch.Tensor:
    return (torch.tensor(COLOURS[colour]) / 255).view(1, 3, 1, 1).expand(count, 3, side, side)
