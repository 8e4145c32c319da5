"""What was seen on the pretended device, and from which line of the library it came."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

import mgt_core

LIBRARY = str(Path(mgt_core.__file__).parent)
PASSED = ("placement.py",)  # of the library, but not where a note belongs: it moves what others hand to it
OUTSIDE = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
KINDS = ("kernels", "waits", "mixes", "float64", "uploads", "downloads", "captures")


class Note(NamedTuple):
    """what: the operation, or what is wrong with it. place: "sampling/step.py:120 keep"."""

    what: str
    place: str


@dataclass
class Seen:
    """kernels: operations that start at least one. waits: of the host for the device. mixes: of tensors of both.
    float64: results of that type on the device. uploads, downloads: by pinned memory, without a wait. captures: of
    graphs, each of which waits once. peak: bytes on the device at the most, beside those that were there before the
    watch began."""

    kernels: Counter[Note] = field(default_factory=Counter)
    waits: Counter[Note] = field(default_factory=Counter)
    mixes: Counter[Note] = field(default_factory=Counter)
    float64: Counter[Note] = field(default_factory=Counter)
    uploads: Counter[Note] = field(default_factory=Counter)
    downloads: Counter[Note] = field(default_factory=Counter)
    captures: Counter[Note] = field(default_factory=Counter)
    peak: int = 0

    def __add__(self, other: "Seen") -> "Seen":
        added = {kind: getattr(self, kind) + getattr(other, kind) for kind in KINDS}
        return Seen(**added, peak=max(self.peak, other.peak))


@cache
def named(filename: str) -> tuple[str, bool]:
    """How a file is called in a note ("" for what is no place at all), and whether it is of the library."""
    if filename.startswith(LIBRARY):
        name = filename[len(LIBRARY) + 1 :].replace("\\", "/")
        return ("" if name in PASSED else name), True
    inner = filename.startswith(OUTSIDE) or filename.startswith("<")
    return ("" if inner else Path(filename).name), False


def place() -> str:
    """The innermost line of the library that is being run, or of what else calls torch."""
    frame, fallback = sys._getframe(1), ""
    while frame is not None:
        name, ours = named(frame.f_code.co_filename)
        if name:
            said = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
            if ours:
                return said
            fallback = fallback or said
        frame = frame.f_back
    return fallback
