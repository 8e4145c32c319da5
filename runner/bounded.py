"""JSON of files and servers, read where it is of ordinary extent. What is not raises ValueError."""

from __future__ import annotations

import json
from typing import Any

MARK = "\ufeff"  # of the order of bytes, at the start of files of some editors and shells
MOST_DIGITS = 1000  # of a whole number; a seed has 20, and Python writes none of more than 4,300


def read_json(text: str | bytes, deepest: int, most: int, counted: str) -> Any:
    """The value of a JSON text. deepest: lists and objects in each other. most: of the characters `counted`, each of
    which stands for something that takes memory."""
    text = text_of(text) if isinstance(text, bytes) else text.lstrip(MARK)
    if sum(text.count(mark) for mark in counted) > most:
        raise ValueError(f"it holds more than {most:,} {'values' if ',' in counted else 'lists and objects'}")
    too_deep = ValueError(f"it holds lists and objects more than {deepest} deep in each other")
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise too_deep from None
    if depth(value, deepest) > deepest:
        raise too_deep
    return value


def text_of(data: bytes) -> str:
    """As the library has it (mgt_core/loading/disk.py), which is not loaded for a run on a server: in UTF-8, UTF-16 or
    UTF-32, with the mark that some editors write or without. Raises ValueError for bytes that are none of this."""
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogatepass").lstrip(MARK)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise ValueError(f"it is no text in {encoding.upper()}") from None
        line, byte = 1 + data.count(b"\n", 0, error.start), data[error.start]
        raise ValueError(f"it is no text in UTF-8: line {line} holds the byte {byte:#x}; save it as UTF-8") from None


def depth(value: Any, deepest: int) -> int:
    """How many lists and objects lie in each other, counted to a little beyond `deepest`."""
    level, found = [value] if isinstance(value, (dict, list)) else [], 0
    while level and found <= deepest:
        found += 1
        values = (held for holder in level for held in (holder.values() if isinstance(holder, dict) else holder))
        level = [held for held in values if isinstance(held, (dict, list))]
    return found


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits, of which at most {MOST_DIGITS} are read")
    return int(digits)
