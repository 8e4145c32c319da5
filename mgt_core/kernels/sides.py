"""On which side of guidance the rows of a call are: layers may treat conditional and unconditional ones apart.

Whoever batches the conditions says it around a call, and nothing is kept beyond. It is said beside the call, not in it,
since it concerns single layers anywhere in a network.
"""

from contextlib import AbstractContextManager

from torch import Tensor

from .now import Now

SIDES = 2
NEGATIVE, POSITIVE = range(SIDES)


_of = Now()


def sides(of: Tensor | None) -> AbstractContextManager[None]:
    """of: NEGATIVE or POSITIVE for every first index [B] of what layers will be called with; None for not known."""
    return _of.being(of)


def current_sides() -> Tensor | None:
    """What `sides` was told, whatever the layer."""
    return _of.value


def sides_of(x: Tensor) -> Tensor | None:
    """[B] long for x [B, ...], or None where it is not known."""
    of = _of.value
    return of if of is not None and x.ndim > 1 and of.shape[0] == x.shape[0] else None
