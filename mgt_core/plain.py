"""Numbers of other libraries as Python's own, and texts as people have them: cut through a character, in lines.

numpy's, torch's, fractions and decimals come out of sweeps, tables and tensors. What is made here is equal, hashed,
written as JSON and sent to a generator as the number that a person would have typed.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Rational, Real
from typing import Any

LINE_END = re.compile(r"\r\n?|\n")
LARGEST_EXACT = 2.0**80  # of what is looked at for being whole: a decimal can have as many digits as it likes


def plain_number(value: Any) -> Any:
    """The int or float that a number of any library is: also an array or tensor without dimensions, on any device.
    What is no real number comes back as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            value = value.item()
        except Exception:  # of a tensor without values, in the words of its library
            return value
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        return value
    if isinstance(value, Integral):
        return int(value)
    try:
        number = float(value)
    except (ValueError, OverflowError):  # none, or beyond all floats
        return value
    # A float has 53 bits, and a seed 64.
    exact = isinstance(value, (Rational, Decimal)) and abs(number) < LARGEST_EXACT and value == int(value)
    return int(value) if exact else number


def plain_whole(value: Any) -> Any:
    """The int that a whole number of any library is, 8.0 included; anything else as `plain_number` has it."""
    value = plain_number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def members(value: Any) -> Sequence | None:
    """What a list, tuple, range, array or tensor of one dimension or more holds; None for anything else."""
    if getattr(value, "ndim", 0) and hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) else None


def whole_text(text: str) -> str:
    """Without halves of characters (lone surrogates), which no file, network or tokenizer takes: U+FFFD stands for
    each, as where a browser sends it, and two that belong together are their character."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def lines_of(text: str) -> list[str]:
    """As every editor shows them: what str.splitlines takes for the end of a line besides, such as U+2028, is a
    character of a prompt like others."""
    return LINE_END.split(text)
