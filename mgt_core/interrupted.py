"""Ctrl-C while a command of this pack is still being imported, which takes seconds: a word instead of a traceback."""

import os
import sys

CANCELLED = 130  # exit status after Ctrl-C, as shells have it
COMMANDS = ("mgt_core", "bench")  # packages whose modules are commands


def listen() -> None:
    """Where this process runs a command of the pack (`python -m NAME`); others keep the hook that they have."""
    told = sys.orig_argv
    name = told[told.index("-m") + 1 :][:1] if "-m" in told else []
    if name and name[0].partition(".")[0] in COMMANDS:
        sys.excepthook = cancelled


def cancelled(kind: type[BaseException], error: BaseException, trace) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    if sys.stderr:
        sys.stderr.write("Cancelled.\n")
        sys.stderr.flush()
    os._exit(CANCELLED)  # else the interpreter ends as if by the signal


listen()
