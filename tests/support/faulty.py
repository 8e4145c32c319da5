"""A fuzzer and a killed subject with faults, which those who watch them have to see."""

import os
from pathlib import Path

from .trials import refused


def trial(seed: int, folder: Path) -> str:
    if seed == 1:
        raise KeyError("a traceback")
    if seed == 2:
        (folder.parent / "escaped").touch()
    if seed == 3:
        os._exit(3)
    if seed == 4:
        refused(ValueError("two\nlines"))
    return "fine"


def prepare(folder: Path) -> None:
    (folder / "work").write_text("of hours")


def act(folder: Path) -> None:
    (folder / "work").write_text("")
    (folder / "work").write_text("of more hours")


def check(folder: Path, finished: bool) -> None:
    assert (folder / "work").read_text(), "the work is gone"
