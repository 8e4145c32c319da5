"""Reads pictures back: which of the 12 backgrounds, which of the subjects, which two and where. Looks at pixels only.

Built from the sprite atlas; nothing in it was fitted to generated pictures. What is asked for says here whether one
object is looked for or two; `placements` reads a picture of which nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..data.scenes import Scene
from ..data.subjects import load_subjects
from .templates import (
    FAR,
    MIDDLE,
    background,
    describe,
    empty,
    maps,
    nearest,
    part_templates,
    read,
    whole_templates,
    window,
)
from .thresholds import Drawing, thresholds

# The places that two objects take.
ARRANGEMENTS = {"side by side": ((MIDDLE, 0), (MIDDLE, FAR)), "stacked": ((0, MIDDLE), (FAR, MIDDLE))}
NOTHING = "nothing drawn"


@dataclass(frozen=True)
class Verdict(Drawing):
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
class PairVerdict(Drawing):
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
    """Pictures of one object, [B, H, W, 3] float in 0..1 -> one verdict each; the subject of a blank one is NOTHING."""
    pixels = read(images)
    colours, features = background(pixels), describe(pixels)
    verdicts: list[Verdict | None] = [None] * len(pixels)
    names = [subject.name for subject in load_subjects()]
    for colour in sorted(set(colours)):
        rows = [row for row, found in enumerate(colours) if found == colour]
        departures = (features[rows] - empty(colour).flatten(1)).square().sum(1).tolist()
        best, order = nearest(features[rows], whole_templates(colour)).topk(2, largest=False)
        for row, departure, near, found in zip(rows, departures, best.tolist(), order.tolist()):
            drawing = thresholds().drawing(near[0] ** 2, departure)
            subject = NOTHING if drawing["blank"] else names[found[0]]
            verdicts[row] = Verdict(*drawing.values(), colour, subject, near[0], names[found[1]], near[1])
    return verdicts


def judge_pairs(images: np.ndarray | torch.Tensor) -> list[PairVerdict]:
    """Pictures of two objects, [B, H, W, 3] float in 0..1 -> one verdict each.

    Each place is read by itself; the arrangement is the one that leaves less of the picture unexplained. A place where
    nothing is drawn has the subject NOTHING.
    """
    pixels = read(images)
    colours, drawn = background(pixels), maps(pixels)
    verdicts: list[PairVerdict | None] = [None] * len(pixels)
    names = [subject.name for subject in load_subjects()]
    for colour in sorted(set(colours)):
        rows = [row for row, found in enumerate(colours) if found == colour]
        table = part_templates(colour)
        aside = (drawn[rows] - empty(colour)).square().sum(1)  # [rows, GRID, GRID]
        departures = aside.sum((1, 2)).tolist()
        readings = []
        for arrangement, places in ARRANGEMENTS.items():
            left_over, found = aside.sum((1, 2)), []
            for place in places:
                there = aside[window(place)].sum((1, 2))
                near, which = nearest(drawn[rows][window(place)].flatten(1), table).min(1)
                left_over = left_over - there + near.square()
                blank = there <= thresholds().departure
                found.append([NOTHING if b else names[w] for b, w in zip(blank.tolist(), which.tolist())])
            readings.append((arrangement, left_over.tolist(), found))
        for place, row in enumerate(rows):
            arrangement, left_over, found = min(readings, key=lambda reading: reading[1][place])
            subjects = found[0][place], found[1][place]
            left = max(left_over[place], 0.0)
            drawing = thresholds().drawing(left, departures[place]).values()
            verdicts[row] = PairVerdict(*drawing, colour, arrangement, subjects, left**0.5)
    return verdicts
