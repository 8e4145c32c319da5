"""Layer by layer, whatever has been compiled or recorded: what watches single layers needs them to be called."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .now import Now

_wanted = Now()


@contextmanager
def as_it_is() -> Iterator[None]:
    """Within, networks run as they are."""
    with _wanted.being(True), torch.compiler.set_stance("force_eager"):
        yield


def wants_as_it_is() -> bool:
    return bool(_wanted.value)
