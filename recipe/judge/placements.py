"""Reads a picture of which nothing is known beforehand: what stands in it, how large and where.

Looked for is all that captions speak of: one object in the middle, normal or large; one of half size in one of five
places; two of them side by side or one above the other; up to four in the quarters of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..data.scenes import CANVAS, HALF, LARGE, Scene
from ..data.subjects import COLOURS, load_subjects
from .reading import ARRANGEMENTS
from .templates import (
    CELL,
    FAR,
    MIDDLE,
    SIDE,
    Place,
    background,
    empty,
    large_templates,
    maps,
    nearest,
    part_templates,
    read,
    whole_templates,
    window,
)
from .thresholds import Drawing, Thresholds, thresholds

ALONE: tuple[Place, ...] = ((MIDDLE, MIDDLE), (MIDDLE, 0), (MIDDLE, FAR), (0, MIDDLE), (FAR, MIDDLE))
QUARTERS: tuple[Place, ...] = ((0, 0), (0, FAR), (FAR, 0), (FAR, FAR))
PLACES = tuple(dict.fromkeys((*ALONE, *QUARTERS)))
NORMAL_SIZE, LARGE_SIZE = "normal", "large"
# Where an object stands (half size), or how large the only one is, and the index of its subject.
Drawn = tuple[Place | str, int]


@dataclass(frozen=True)
class Placed(Drawing):
    """What is read: the background and the objects, in no order. Nothing is read in a blank picture."""

    colour: str
    objects: frozenset[Drawn]

    @property
    def shows(self) -> tuple[str, frozenset[Drawn]]:
        return self.colour, self.objects

    @property
    def text(self) -> str:
        names = [load_subjects()[subject].name for _, subject in sorted(self.objects, key=str)]
        return f"{', '.join(names) or 'nothing'}, {self.colour}"


def shown(scene: Scene) -> tuple[str, frozenset[Drawn]]:
    """What a reading of a scene's picture should hold, as `Placed.shows`; two scenes that look alike have the same."""
    objects = []
    for item in scene.items:
        where: Place | str = (item.top * SIDE // CANVAS // CELL, item.left * SIDE // CANVAS // CELL)
        if item.size != HALF:
            where = LARGE_SIZE if item.size == LARGE else NORMAL_SIZE
        objects.append((where, item.subject))
    return scene.colour, frozenset(objects)


def read_scenes(images: np.ndarray | torch.Tensor, limits: Thresholds | None = None) -> list[Placed]:
    """Pictures [B, H, W, 3] float in 0..1 -> what is read in each.

    The placement is the one that leaves the least of the departure from the empty background unexplained; an object is
    read only where it explains more than a blank picture may depart.
    """
    pixels = read(images)
    colours, drawn = background(pixels), maps(pixels)
    found: list[Placed | None] = [None] * len(pixels)
    for colour in COLOURS:
        rows = [row for row, own in enumerate(colours) if own == colour]
        if rows:
            for row, placed in zip(rows, of_colour(colour, drawn[rows], limits or thresholds())):
                found[row] = placed
    return found


def of_colour(colour: str, drawn: torch.Tensor, limits: Thresholds) -> Iterator[Placed]:
    """drawn: [B, 5, 16, 16], pictures on `colour`."""
    aside = (drawn - empty(colour)).square().sum(1)
    departures = aside.sum((1, 2))
    options: list[tuple[list[float], list[list[Drawn]]]] = []
    for size, table in ((NORMAL_SIZE, whole_templates(colour)), (LARGE_SIZE, large_templates(colour))):
        near, which = nearest(drawn.flatten(1), table).min(1)
        gained = (departures - near.square()).tolist()
        options.append((gained, [[(size, subject)] for subject in which.tolist()]))
    parts = part_templates(colour)
    gains, subjects = {}, {}
    for place in PLACES:
        near, which = nearest(drawn[window(place)].flatten(1), parts).min(1)
        gains[place] = (aside[window(place)].sum((1, 2)) - near.square()).tolist()
        subjects[place] = which.tolist()
    for places in (*((place,) for place in ALONE), *ARRANGEMENTS.values(), QUARTERS):
        options.append(together(places, gains, subjects, limits.departure))
    for row, departure in enumerate(departures.tolist()):
        # Of two options that explain the same the one with fewer objects, which comes first.
        gained, objects = max(((option[0][row], option[1][row]) for option in options), key=lambda option: option[0])
        drawing = limits.drawing(departure - gained, departure)
        yield Placed(**drawing, colour=colour, objects=frozenset(() if drawing["blank"] else objects))


def together(
    places: tuple[Place, ...], gains: dict, subjects: dict, least: float
) -> tuple[list[float], list[list[Drawn]]]:
    """What half-size objects explain in those of `places` where one explains enough: of every picture, and which."""
    gained, objects = [], []
    for row in range(len(gains[places[0]])):
        taken = [place for place in places if gains[place][row] > least]
        gained.append(sum(gains[place][row] for place in taken))
        objects.append([(place, subjects[place][row]) for place in taken])
    return gained, objects
