"""JSON of files and servers, read where it is of ordinary extent. What is not raises ValueError."""

from __future__ import annotations

import json
from typing import Any

MOST_DIGITS = 1000  # of a whole number; a seed has 20, and Python writes none of more than 4,300


def read_json(text: str | bytes, deepest: int, most: int, counted: str) -> Any:
    """The value of a JSON text. deepest: lists and objects in each other. most: of the characters `counted`, each of
    which stands for something that takes memory."""
    if sum(text.count(mark if isinstance(text, str) else mark.encode()) for mark in counted) > most:
        raise ValueError(f"it holds more than {most:,} {'values' if ',' in counted else 'lists and objects'}")
    too_deep = ValueError(f"it holds lists and objects more than {deepest} deep in each other")
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise too_deep from None
    if depth(value, deepest) > deepest:
        raise too_deep
    return value


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
