"""Workflow files by their short names: "01 Text to image.json" is text_to_image.

The number orders the files where a host lists them, and a remark in brackets says what the title does not."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from .images import files_of
from .problems import WorkflowError

SUFFIX = ".json"
LIKE = 0.5  # how much of a name is right in one that is near it
MOST_TOLD = 60  # names that a sentence lists; it is cut where they are long
PARTS_LEFT_OUT = re.compile(r"^\d+\s+|\s*\([^()]*\)$")


def title(stem: str) -> str:
    """Of a file's name without its ending: without number and remark."""
    return PARTS_LEFT_OUT.sub("", stem.strip())


def remark(stem: str) -> str:
    """What stands in brackets behind the title, "" where nothing does."""
    return "".join(re.findall(r"\(([^()]*)\)$", stem.strip()))


def short_name(stem: str) -> str:
    """The title in lower case, with _ for all that is no letter; a hyphen joins a letter by itself to its word, as in
    Z-Sampling, which is zsampling."""
    joined = re.sub(r"\b(\w)-(?=\w)", r"\1", title(stem).lower())
    return re.sub(r"[\W_]+", "_", joined).strip("_")


def found(path: Path, shipped: Path) -> Path:
    """The file that `path` means: itself, with or without its ending, where a file lies there; else the one in its
    folder that has this short name; a bare name may also be that of a workflow in `shipped`. Raises WorkflowError where
    none or several do."""
    for exact in (path, Path(f"{path}{SUFFIX}")):
        if os.path.lexists(exact) and not os.path.isdir(exact):
            return exact  # what cannot be read there is told by who reads it
    if path.suffix.lower() not in ("", SUFFIX):
        return path
    bare = path.parent == Path() and not path.is_absolute()
    folders = [path.parent, shipped] if bare else [path.parent]
    wanted = short_name(path.stem if path.suffix else path.name)
    for folder in folders:
        matches = _called(wanted, folder)
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(repr(file.name) for file in matches[:MOST_TOLD])
            raise _unclear(path, f"could be {names} in {folder}; give one of these names")
    if os.path.isdir(path):
        return path
    held = sorted({short_name(file.stem) for file in _workflows(folders[-1])})
    told = get_close_matches(wanted, held, 4, LIKE) or held
    there = f"workflows there: {', '.join(told[:MOST_TOLD])}" if held else "no workflow lies there"
    there += f" and {len(held) - len(told)} more" if len(told) < len(held) else ""
    raise _unclear(path, f"is not in {' or '.join(map(str, folders))}; {there}")


def _called(wanted: str, folder: Path) -> list[Path]:
    """The files in a folder that have this short name; one to which another name links counts once."""
    matches = sorted(file for file in _workflows(folder) if wanted and short_name(file.stem) == wanted)
    return sorted({os.path.realpath(file): file for file in reversed(matches)}.values())


def _workflows(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in files_of(folder) if entry.name.lower().endswith(SUFFIX)]


def _unclear(path: Path, why: str) -> WorkflowError:
    return WorkflowError.one("Cannot read the workflow", f"{path} {why}")
