"""Sides in pixels, judged when a workflow is queued: before a model is loaded that could say more.

An input that VALIDATE_INPUTS names is not compared with its min and max by the host, so all of it is said here.
A wired input is None there and is judged when the node runs, as is what single models take less of.
"""

from typing import Any

from ..mgt_core.codecs.base import SMALLEST_TILE
from ..mgt_core.pixels import is_side, nearest
from .types import LONGEST_SIDE, SIDE_UNIT

Judged = bool | str


def sides_judged(given: dict[str, Any], low: int) -> Judged:
    """True, or one sentence for the sides among `given` that no model takes."""
    wrong = [
        f"{name} is {value!r} pixels{beside(value, low)}"
        for name, value in given.items()
        if value is not None and not is_side(value, SIDE_UNIT, low, LONGEST_SIDE)
    ]
    if not wrong:
        return True
    return f"{', '.join(wrong)}; models take multiples of {SIDE_UNIT} from {low} to {LONGEST_SIDE}"


def beside(value: Any, low: int) -> str:
    found = nearest(value, SIDE_UNIT, low, LONGEST_SIDE)
    return f" (nearest: {' and '.join(map(str, found))})" if found else ""


def judges_picture(cls, width: Any = None, height: Any = None) -> Judged:
    return sides_judged({"width": width, "height": height}, SIDE_UNIT)


def judges_padding(cls, left: Any = None, top: Any = None, right: Any = None, bottom: Any = None) -> Judged:
    return sides_judged({"left": left, "top": top, "right": right, "bottom": bottom}, 0)


def judges_tile(cls, tile_size: Any = None) -> Judged:
    if tile_size is None or tile_size == 0 or is_side(tile_size, 1, SMALLEST_TILE, LONGEST_SIDE):
        return True
    return (
        f"tile_size is {tile_size!r} pixels; accepted are 0, for the whole picture at once, and {SMALLEST_TILE} to "
        f"{LONGEST_SIDE}"
    )
