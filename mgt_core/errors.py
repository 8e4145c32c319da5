"""The one exception type for bad input: its message is one sentence a person can act on."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class MGTError(ValueError):
    """Bad input. The message names the input, what it held and what is accepted."""


def join_some(items, limit: int = 3) -> str:
    """The first few of `items` as text, and how many were left out."""
    items = [str(item) for item in items]
    shown = ", ".join(items[:limit])
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
    """`known[name]`. Raises MGTError naming the known ones where it is none of them."""
    try:
        return known[name]
    except (KeyError, TypeError):
        raise MGTError(f"{what} is {name!r}, but the known ones are {', '.join(known)}") from None


def whole_number(name: str, value, low: int, high: int) -> None:
    """Raises MGTError unless `value` is an int in low..high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise MGTError(f"{name} is {value!r}; accepted are whole numbers from {low} to {high}")


def finite_number(name: str, value, low: float, high: float) -> None:
    """Raises MGTError unless `value` is a number in low..high."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise MGTError(f"{name} is {value!r}; accepted are numbers from {low} to {high}")
