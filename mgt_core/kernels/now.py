"""What holds for a while, said beside the calls that it concerns rather than in each of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Now(threading.local):
    """A value that each thread has for itself, and that ends where it was said; torch.compile follows it."""

    value: Any = None

    @contextmanager
    def being(self, value: Any) -> Iterator[None]:
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before
