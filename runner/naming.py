"""Names of pictures and sounds in a workflow, of those it takes and of those it makes. All lie below a folder of the
person's."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from .problems import UNSEEN, RunError, shown_text

LONGEST = 500  # characters of a name with its folders
LONGEST_PART = 200  # bytes of one of them: file systems take 255, and number and ending come after
SHOWN = 80  # characters of a name in a sentence
# What a server fills into a filename_prefix, between two %.
SERVER_NAMES = ("width", "height", "year", "month", "day", "hour", "minute", "second")
BATCH = "batch_num"  # and this one as it saves each picture: its place in the batch, from 0


def parts_of(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]  # Windows takes both


def below(name: str) -> bool:
    """Whether a name can mean nothing but a place below the folder it is looked up in, here and on Windows."""
    parts = parts_of(name)
    leads_off = re.match(r"[/\\]|[a-z]:[/\\]", name, re.IGNORECASE) or (os.name == "nt" and ":" in name)
    return bool(parts) and not leads_off and "\0" not in name and all(part.strip(". ") for part in parts)


def target(output: Path, prefix: str, width: int = 1, height: int = 1) -> Path:
    """Where files of this filename_prefix go, but for their number and ending: a file strictly below `output`, also
    behind links. Raises RunError for a prefix that gives none, once all in it is filled in."""
    shown = shown_text(repr(prefix), SHOWN)
    if len(prefix) > LONGEST:
        raise RunError(f"{shown} is a filename_prefix of {len(prefix)} characters; {LONGEST} are accepted")
    text = expand_prefix(prefix, width, height)
    parts = parts_of(text)
    if UNSEEN.search(text):
        raise RunError(f"{shown} holds characters that no file name has; expected letters, numbers and signs")
    if not parts:
        raise RunError(f"{shown} names no file; expected a name such as ComfyUI, or folder/name")
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError as error:
        raise RunError(f"{shown} holds characters that names of files here, in {error.encoding}, do not have") from None
    if longest > LONGEST_PART:
        raise RunError(f"{shown} holds a name of more than {LONGEST_PART} bytes, which no disk takes with its number")
    path = output.joinpath(*parts)
    if not below(text) or not is_inside(path.parent, output):
        raise RunError(f"{shown} leads out of the output folder {output}; expected a name, or folder/name, below it")
    return path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a place lies in the folder, or is it, wherever links lead."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links
        return False


def judged(output: Path, prefix: object) -> bool | str:
    """Whether a filename_prefix gives a file, or the sentence that says why not."""
    if prefix is None:  # comes from another node
        return True
    try:
        target(output, str(prefix))
    except RunError as error:
        return str(error)
    return True


def free_paths(start: Path, ending: str = ".png") -> Iterator[Path]:
    """`start_00001_.png` and on, past the highest number that its folder holds, of any ending. Raises OSError."""
    name = re.escape(start.name).replace(f"%{BATCH}%", r"\d+", 1)  # one, which takes no time to match
    taken = re.compile(name + r"_(\d{1,9})_?\.\w+$", re.IGNORECASE)
    number = max((int(m[1]) for entry in os.scandir(start.parent) if (m := taken.match(entry.name))), default=0)
    while True:
        number += 1
        yield start.with_name(f"{start.name}_{number:05}_{ending}")


def in_batch(paths: Iterator[Path], place: int) -> Iterator[Path]:
    """The paths with %batch_num% filled in."""
    return (path.with_name(path.name.replace(f"%{BATCH}%", f"{place}")) for path in paths)


def expand_prefix(prefix: str, width: int, height: int) -> str:
    """Fills in %width%, %year% and their kin, as ComfyUI's server does, and %date:yyyy-MM-dd%, as its browser does."""
    now = time.localtime()
    prefix = re.sub(r"%date(?::([^%]*))?%", lambda m: date_text(m.group(1) or "yyyyMMddhhmmss", now), prefix)
    values = (width, height, now.tm_year, now.tm_mon, now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec)
    for name, value in zip(SERVER_NAMES, values, strict=True):
        prefix = prefix.replace(f"%{name}%", f"{value:02}" if name in SERVER_NAMES[3:] else f"{value}")
    return prefix


def date_text(pattern: str, at: time.struct_time) -> str:
    """A moment as the front end writes it: d, M, h, m and s, doubled for two digits, yy and yyyy; all else stays."""
    fields = {"d": at.tm_mday, "M": at.tm_mon, "h": at.tm_hour, "m": at.tm_min, "s": at.tm_sec}
    values = {"yyyy": f"{at.tm_year}", "yy": f"{at.tm_year % 100:02}", "yyy": "yyy"}
    for letter, number in fields.items():
        values |= {letter: f"{number}", letter * 2: f"{number:02}"}
    return re.sub(r"yyy?y?|MM?|dd?|hh?|mm?|ss?", lambda m: values[m[0]], pattern)
