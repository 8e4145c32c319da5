"""The progress bar, the same for a run here and on a server."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Bar:
    """One bar per node that reports steps."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._bar: tqdm | None = None
        self._node: str | None = None

    def show(self, done: int, total: int, node: str | None = None, label: str = "") -> None:
        if not self._enabled:
            return
        if self._bar is None or node != self._node or total != self._bar.total or done < self._bar.n:
            self.close()
            self._node = node
            self._bar = tqdm(total=total, desc=label or "Sampling", unit="step", file=sys.stderr, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
