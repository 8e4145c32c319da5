"""The one exception type for bad input: its message is one sentence a person can act on."""

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .plain import members, plain_number, plain_whole

T = TypeVar("T")

LONGEST = 480  # characters of a message, whatever names and values the files behind it hold


class MGTError(ValueError):
    """Bad input. The message names the input, what it held and what is accepted: one line, which a terminal can show,
    whatever a file holds."""

    def __init__(self, message: object = ""):
        super().__init__(shown_text(str(message)))


def shown_text(text: str, limit: int = LONGEST) -> str:
    """Text on one line, without what moves a terminal's cursor or turns its colours, its middle left out where it is
    longer than `limit`."""
    text = visible(" ".join(text[: 20 * limit].split()))
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 5].rstrip()} ... {text[-tail:].lstrip()}"


def visible(text: str) -> str:
    """With the escapes of Python for characters that are none to see: controls, marks of direction, lone surrogates."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def join_some(items, limit: int = 3) -> str:
    """The first few of `items` as text, and how many were left out."""
    items = list(items)
    shown = ", ".join(map(str, items[:limit]))
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def reason(error: BaseException, limit: int = 120) -> str:
    """What another library's exception says, on one line and not too long."""
    return shortened(str(error), limit) or type(error).__name__


def shortened(text: str, limit: int = 120) -> str:
    """Text on one line and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit].rstrip()}..."


def lookup(what: str, name, known: Mapping[str, T]) -> T:
    """`known[name]`. Raises MGTError naming the known ones where it is none of them, those that are like it first."""
    try:
        return known[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(shortened(str(name)), list(known), n=3)
        names = ", ".join(dict.fromkeys([*near, *known]))
        raise MGTError(f"{what} is {name!r}, but the known ones are {names}") from None


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in low..high, of whichever library (plain.py), as Python's. Raises MGTError for anything else."""
    number = plain_whole(value)
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise MGTError(f"{name} is {written(number)}; accepted are whole numbers from {low} to {high}")
    return number


def finite_number(name: str, value: Any, low: float, high: float) -> float:
    """A number in low..high, of whichever library (plain.py), as Python's. Raises MGTError for anything else."""
    number = plain_number(value)
    fits = isinstance(number, (int, float)) and not isinstance(number, bool) and low <= number <= high
    if not fits or abs(number) > sys.float_info.max and isinstance(number, int):
        raise MGTError(f"{name} is {written(number)}; accepted are numbers from {low} to {high}")
    return float(number)


def written(value: Any) -> str:
    """As Python writes it, which numbers of thousands of digits are not."""
    try:
        return repr(value)
    except ValueError:
        return "a number of thousands of digits"


def path_named(name: str, value: Any) -> Path:
    """The path that a text or an os.PathLike is. Raises MGTError for anything else."""
    held = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(held, str) or not held:
        raise MGTError(f"{name} is {value!r}; expected a path, as a text or a Path")
    return Path(held)


def several(name: str, value: Any, expected: str, count: int) -> list:
    """The `count` members of a list, tuple, array or tensor. Raises MGTError, saying what is `expected`, for anything
    else."""
    found = members(value)
    if found is None or len(found) != count:
        raise MGTError(f"{name} is {value!r}; expected {expected}")
    return list(found)
