"""What pictures and masks hold: shares of white from 0 to 1, or nearly so.

Filters that scale by cubic or longer weights leave values beside that, as ComfyUI's own "bicubic" does: by 0.445 at the
most (both directions of a filter whose weights sum to 1.1875 and -0.1875), and over a whole picture, whatever it shows,
by 0.034 on average. So values within 0.5 of the range, and within 0.05 on average, are cut off without a word. What
goes further is of another range, and cutting it off would make another picture.
"""

import math

import torch
from torch import Tensor

from .errors import MGTError

OVERSHOOT = 0.5  # of single values, beyond 0 or 1
LOST = 0.05  # of all values on average, by cutting off
BRIGHT = 16  # above it values are levels, and no light
EIGHT_BITS, SIXTEEN_BITS = 255.5, 65535.5


def checked_shares(name: str, values: Tensor) -> Tensor:
    """Pictures or masks of any shape, those within the tolerance cut off at 0 and 1; as they are where nothing is
    beyond. One wait for their device, two where something is.

    Raises MGTError for another range, and for what is not finite."""
    if not values.numel() or values.dtype == torch.bool:
        return values
    low, high = torch.stack((values if values.is_floating_point() else values.float()).aminmax()).tolist()
    verb, holds = ("are", "hold") if name.endswith("s") else ("is", "holds")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise MGTError(f"{name} {verb} not finite: some values are NaN or infinite")
    if low >= 0 and high <= 1:
        return values
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        inside = values.clamp(0, 1)
        if float((values.float() - inside.float()).abs().mean()) <= LOST:
            return inside
    raise MGTError(f"{name} {holds} values from {low:.4g} to {high:.4g}; expected 0 to 1{likely(low, high)}")


def likely(low: float, high: float) -> str:
    """The end of a sentence: which range it looks like, and what to do."""
    if low < 0 and max(-low, high) <= 1 + OVERSHOOT:
        return ": as of -1 to 1, for which add 1 and divide by 2"
    if low >= -OVERSHOOT and BRIGHT < high <= SIXTEEN_BITS:
        bits, top = (8, 255) if high <= EIGHT_BITS else (16, 65535)
        return f": as of {bits} bits, for which divide by {top}"
    return ": scale them to that, or clamp what is beyond"
