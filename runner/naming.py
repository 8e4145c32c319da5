"""Names of pictures in a workflow: of those it takes, and of those it makes. All lie below a folder of the person's."""

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


def parts_of(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]  # Windows takes both


def below(name: str) -> bool:
    """Whether a name can mean nothing but a place below the folder it is looked up in, here and on Windows."""
    parts = parts_of(name)
    leads_off = re.match(r"[/\\]|[a-z]:[/\\]", name, re.IGNORECASE) or (os.name == "nt" and ":" in name)
    return bool(parts) and not leads_off and "\0" not in name and all(part.strip(". ") for part in parts)


def target(output: Path, prefix: str, width: int = 1, height: int = 1) -> Path:
    """Where pictures of this filename_prefix go, but for their number and ending: a file strictly below `output`, also
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


def free_paths(start: Path) -> Iterator[Path]:
    """`start_00001_.png` and on, past the highest number that its folder holds. Raises OSError."""
    taken = re.compile(re.escape(start.name) + r"_(\d{1,9})_?\.\w+$", re.IGNORECASE)
    number = max((int(m[1]) for entry in os.scandir(start.parent) if (m := taken.match(entry.name))), default=0)
    while True:
        number += 1
        yield start.with_name(f"{start.name}_{number:05}_.png")


def expand_prefix(prefix: str, width: int, height: int) -> str:
    """Fills in %width%, %year% and their kin, and %date:yyyy-MM-dd%, as ComfyUI does."""
    now = time.localtime()
    parts = {"year": f"{now.tm_year}", "width": f"{width}", "height": f"{height}"}
    numbers = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    parts |= {name: f"{number:02}" for name, number in numbers.items()}
    prefix = re.sub(r"%date(?::([^%]*))?%", lambda m: _date(m.group(1) or "yyyyMMddhhmmss", now), prefix)
    return re.sub(r"%(\w+)%", lambda m: parts.get(m[1], m[0]), prefix)


def _date(pattern: str, now: time.struct_time) -> str:
    values = {"yyyy": f"{now.tm_year}", "yy": f"{now.tm_year % 100:02}"}
    fields = (("M", now.tm_mon), ("d", now.tm_mday), ("h", now.tm_hour), ("m", now.tm_min), ("s", now.tm_sec))
    for letter, number in fields:
        values |= {letter: f"{number}", letter * 2: f"{number:02}"}
    return re.sub(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?", lambda m: values[m[0]], pattern)
