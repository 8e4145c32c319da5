"""On which side of guidance the rows of a call are: layers may treat conditional and unconditional ones apart.

Whoever batches the conditions says it around a call, and nothing is kept beyond. It is said beside the call, not in it,
since it concerns single layers anywhere in a network. (A thread's own variable: torch.compile follows it.)
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

SIDES = 2
NEGATIVE, POSITIVE = range(SIDES)


class _Now(threading.local):
    of: Tensor | None = None


_now = _Now()


@contextmanager
def sides(of: Tensor | None) -> Iterator[None]:
    """of: NEGATIVE or POSITIVE for every first index [B] of what layers will be called with; None for not known."""
    before, _now.of = _now.of, of
    try:
        yield
    finally:
        _now.of = before


def current_sides() -> Tensor | None:
    """What `sides` was told, whatever the layer."""
    return _now.of


def sides_of(x: Tensor) -> Tensor | None:
    """[B] long for x [B, ...], or None where it is not known."""
    of = _now.of
    return of if of is not None and x.ndim > 1 and of.shape[0] == x.shape[0] else None
