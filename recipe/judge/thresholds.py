"""From where on something is drawn at all, and up to where a drawing is a good one.

Chosen on real compositions and on what the codec makes of them, never on generated pictures, by
`python -m recipe.judge.calibration`, which writes them into thresholds.json.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True)
class Thresholds:
    """departure: squared distance in the judge's features, from the empty background, up to which nothing is drawn.
    residual: share of the departure that the nearest drawing may leave unexplained in a good picture."""

    departure: float
    residual: float

    def drawing(self, left_over: float, departure: float) -> dict:
        """Fields of a Drawing that departs so far from its empty background and leaves so much of it unexplained."""
        blank = departure <= self.departure
        residual = 1.0 if blank else min(1.0, max(0.0, left_over) / departure)
        return {"departure": departure, "residual": residual, "blank": blank, "good": residual <= self.residual}


@dataclass(frozen=True)
class Drawing:
    """How much is drawn, and how well it is one of the known drawings.

    departure: squared distance of the picture from its empty background, in the judge's features. residual: share of it
    that the nearest known drawing leaves unexplained, 0 to 1; of a blank picture 1. good: whether the picture is as
    near to a known drawing as the codec's pictures of real ones are; a blank one is not.
    """

    departure: float
    residual: float
    blank: bool
    good: bool


@functools.cache
def thresholds() -> Thresholds:
    """Those that were chosen."""
    held = json.loads(FILE.read_text())
    return Thresholds(held["departure"], held["residual"])
