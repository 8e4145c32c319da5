"""Places and sizes of a graph put into its file, and nothing else of the file touched."""

from __future__ import annotations

import json
import re
from typing import Any

Json = dict[str, Any]

KEYS = ("pos", "size", "bounding")
NUMBERS = re.compile(rf'"({"|".join(KEYS)})"(\s*:\s*)\[([^\[\]"]*)\]')


def placed(text: str, graph: Json) -> str:
    """The text of a saved graph with the places of `graph`, which is the same graph otherwise; its white space stays.

    Raises ValueError if more than places would have to change."""
    wanted = {key: iter(_values(graph, key)) for key in KEYS}

    def put(match: re.Match[str]) -> str:
        key, between, inside = match.groups()
        numbers = iter(next(wanted[key]))
        changed = re.sub(r"-?[0-9][0-9.eE+-]*", lambda old: _number(next(numbers), old.group()), inside)
        return f'"{key}"{between}[{changed}]'

    made = NUMBERS.sub(put, text)
    if json.loads(made) != graph:
        raise ValueError("the new layout is not that of this file")
    return made


def _number(value: float, old: str) -> str:
    """As it was written, where it is the same."""
    return old if float(old) == value else json.dumps(int(value) if value == int(value) else value)


def _values(document: Any, key: str) -> list[list[float]]:
    """Every list of numbers under that key, in the order of the file."""
    if isinstance(document, list):
        return [value for item in document for value in _values(item, key)]
    if not isinstance(document, dict):
        return []
    found = []
    for name, value in document.items():
        if name == key and isinstance(value, list) and all(isinstance(side, int | float) for side in value):
            found.append(value)
        else:
            found += _values(value, key)
    return found
