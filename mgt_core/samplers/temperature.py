"""The temperature of the confidence noise over a run: its ends, and the way between them."""

import math
from collections.abc import Callable, Sequence

from ..errors import MGTError, finite_number
from ..plain import members

Ends = tuple[float | None, float | None]
RECOMMENDED = "recommended"  # as a temperature shape: the model's
SAME = "same"  # as the temperature of the draw: that of the confidence at every step


def temperature_range(value: float | Sequence[float | None] | None) -> Ends:
    """(first, last) step temperature; one number t means (t, 0.01), as in Meissonic's scheduler. None is left to the
    model, both of them or one.

    Raises MGTError for anything but one or two numbers of 0 or more.
    """
    found = members(value)
    ends = (value, None if value is None else 0.01) if found is None else found
    if len(ends) != 2:
        raise MGTError(f"temperature is {value!r}; expected one number or two (first step, last step)")
    first, last = (None if end is None else finite_number("temperature", end, 0, 1000) for end in ends)
    return first, last


def draw_temperature(value: float | str) -> float | str:
    """The temperature of the draw itself: a number, or SAME. Raises MGTError for anything else."""
    return value if value == SAME else finite_number("draw_temperature", value, 0, 1000)


def compounding(index: int, steps: int) -> float:
    """What MaskGIT's released codes do: each step multiplies the temperature by 1 - (k + 1) / T in place, so that
    it falls as the product of all factors so far (arXiv 2410.13136 as released)."""
    return 1 - math.prod(1 - (k + 1) / steps for k in range(index + 1))


def along(curve: Callable[[float], float]) -> Callable[[int, int], float]:
    return lambda index, steps: curve(index / (steps - 1) if steps > 1 else 0.0)


# Share of the way from the first temperature to the last at step `index` of `steps`.
TEMPERATURE_SHAPES: dict[str, Callable[[int, int], float]] = {
    "linear": along(lambda x: x),
    "cosine": along(lambda x: (1 - math.cos(math.pi * x)) / 2),
    "early": along(math.sqrt),
    "late": along(lambda x: x**2),
    "compounding": compounding,
}
