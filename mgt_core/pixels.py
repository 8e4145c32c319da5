"""Sides of pictures in pixels: which ones a model takes, and which are nearest to one that it does not."""

from typing import Any

from .plain import plain_number


def is_side(value: Any, unit: int, low: int, high: int) -> bool:
    """Whether it is a multiple of `unit` within the limits."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high and value % unit == 0


def nearest(value: Any, unit: int, low: int, high: int) -> list[int]:
    """The multiples of `unit` from `low` to `high` on both sides of `value`, itself where it is one; none for what is
    no number."""
    value = plain_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return []
    limits = -(-low // unit), high // unit
    below = int(min(max(value, low), high) // unit)
    above = below + (low <= value <= high and value % unit != 0)
    within = (min(max(count, limits[0]), limits[1]) for count in (below, above))
    return sorted({count * unit for count in within})


def told_nearest(value: Any, unit: int, low: int, high: int) -> str:
    """The end of a sentence that refuses a side; empty for what is no number."""
    found = nearest(value, unit, low, high)
    if not found:
        return ""
    return f"; the nearest {'are' if len(found) > 1 else 'is'} {' and '.join(map(str, found))}"


def scaled_to(size: tuple[int, int], unit: int, low: int, high: int) -> tuple[int, int]:
    """The nearest (height, width) of which both sides are multiples."""
    return tuple(min(nearest(side, unit, low, high), key=lambda good: abs(good - side)) for side in size)
