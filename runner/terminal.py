"""What the command says: lines that a terminal can show, whatever files and servers put into them."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from .problems import LONGEST, UNSEEN, escaped, shown_text, visible


def say(line: object) -> None:
    """As it is, since scripts read it, but for what a terminal would act on."""
    _write(sys.stdout, UNSEEN.sub(escaped, str(line)))


def complain(*lines: object) -> None:
    for line in lines:
        _write(sys.stderr, shown_text(str(line)))


def log_to_terminal(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Shown())
    logging.basicConfig(level=level, handlers=[handler])


class Shown(logging.Formatter):
    """A line a message; tracebacks keep theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown_text(record.message)

    def formatException(self, failure) -> str:
        return "\n".join(visible(line[:LONGEST]) for line in super().formatException(failure).split("\n"))


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except (OSError, ValueError):  # nobody reads it any more, which is no reason to stop
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
