"""Where the files that a server names may lie: in the output folder, under names that every system can hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .problems import UNSEEN, Json, ServerError, shown_text

TYPES = ("output", "temp", "input")  # the folders that ComfyUI has
UNFIT = frozenset('<>:"|?*')  # in names on Windows
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
LONGEST_PATH = 4096  # characters of a path as the server names it; Linux takes as many
LONGEST_NAME = 150  # bytes; file systems take 255, and a number may be added
LONGEST_SUFFIX = 20  # characters after the last dot that are kept of a longer name
DEEPEST_FOLDER = 16  # folders below each other; ComfyUI's own file names hold one or two


def place_of(file: Json, output: Path) -> Path:
    """Where a file of a history entry goes. What leads out of the output folder is left out of its path, and what names
    cannot hold is replaced. Raises ServerError."""
    kind, folder, name = file.get("type") or "output", file.get("subfolder") or "", file["filename"]
    if kind not in TYPES:
        raise ServerError(f"The server has a file of type {_shown(kind)}; taken are {', '.join(TYPES)}.")
    if not isinstance(folder, str) or not isinstance(name, str):
        raise ServerError(f"The server names a file {_shown(name)} in {_shown(folder)}, which is no path.")
    if len(folder) + len(name) > LONGEST_PATH:
        raise ServerError(f"The server names a file by {len(folder) + len(name)} characters; taken are {LONGEST_PATH}.")
    folders = list(_names(folder))
    names = list(_names(name)) if re.search(r"[^/\\]$", name) else []
    if not names:
        raise ServerError(f"The server names a file {_shown(name)}, which is no name of a file.")
    if len(folders) > DEEPEST_FOLDER:
        raise ServerError(f"The server names a file {len(folders)} folders deep; taken are {DEEPEST_FOLDER}.")
    path = output.joinpath(*([] if kind == "output" else [kind]), *folders, names[-1])
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(output)):
        raise ServerError(
            f"{path.parent} leads out of the output folder {output}, so {names[-1]!r} is not saved there."
        )
    return path


def free_names(path: Path) -> Iterator[Path]:
    """`a.png`, `a (2).png` and on."""
    stem, dot, suffix = path.name.rpartition(".")
    yield path
    number = 1
    while True:
        number += 1
        yield path.with_name(f"{stem} ({number}){dot}{suffix}" if dot else f"{path.name} ({number})")


def _names(path: str) -> Iterator[str]:
    for part in re.split(r"[/\\]", path):
        name = "".join("_" if c in UNFIT or UNSEEN.match(c) else c for c in part).strip(" ").rstrip(". ")
        if name:
            yield _shortened(f"_{name}" if name.startswith(".") or RESERVED.match(name) else name)


def _shortened(name: str) -> str:
    if len(name.encode()) <= LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = f"{dot}{suffix}" if dot and len(suffix) <= LONGEST_SUFFIX else ""
    kept = (stem if ending else name).encode()[: LONGEST_NAME - len(ending.encode())]
    return kept.decode(errors="ignore").rstrip(". ") + ending


def _shown(value: Any) -> str:
    return shown_text(repr(value), 80)
