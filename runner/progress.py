"""The progress bar, the same for a run here and on a server."""

from __future__ import annotations

import sys

from tqdm import tqdm

from .problems import shown_text

LONGEST_LABEL = 60  # characters
MOST_BARS = 1000  # of one run; a server could fill the terminal with them


class Bar:
    """One bar per node that reports steps."""

    def __init__(self, enabled: bool = True) -> None:
        self._left = MOST_BARS if enabled and sys.stderr else 0
        self._bar: tqdm | None = None
        self._node: str | None = None

    def show(self, done: int, total: int, node: str | None = None, label: str = "") -> None:
        try:
            if self._bar is None or node != self._node or done < self._bar.n or self._bar.n == self._bar.total:
                self.close()
                if not self._left:
                    return
                self._left -= 1
                self._node = node
                name = shown_text(label, LONGEST_LABEL) or "Sampling"
                self._bar = tqdm(total=total, desc=name, unit="step", file=sys.stderr, dynamic_ncols=True)
            self._bar.total = total  # of a run whose number of steps follows the picture it is not known beforehand
            self._bar.update(done - self._bar.n)
        except OSError:  # nobody reads it any more
            self._left, self._bar = 0, None

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
