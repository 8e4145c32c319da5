"""Layer by layer, whatever has been compiled or recorded: what watches single layers needs them to be called."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Now(threading.local):
    wanted: bool = False


_now = _Now()


@contextmanager
def as_it_is() -> Iterator[None]:
    """Within, networks run as they are."""
    before, _now.wanted = _now.wanted, True
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        _now.wanted = before


def wants_as_it_is() -> bool:
    return _now.wanted
