"""JSON as nobody writes it: changes to a value at random, and its text, with what Python cannot write by itself."""

import json
import random
from typing import Any

DEEP = (20, 97, 105, 800, 5000)  # lists in each other
DIGITS = 5000
TEXTS = (
    "", " ", "x", "*", "-10", "-20", "0", "1", "1e400", "None", "a,b", "..", "../../x", "\u0663", "\ud800", "a\udc80b",
    "\0", "\x1b[31m\n\r\x07red", "\u202egnp", "\u2028", "%date:../../x%", "1" * 5000, "\u20ac" * 700, "x" * 200_000,
    "{a|b\\}", "{" * 60, "//{a} /* b", "%MGT Sample.seed%", "%Prompt.text%" * 3, r"sub\tiny", "%.%%date:%%",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 4, 7, -10, 255, 2**31, 2**63, -(2**64), 10**400, 0.0, -0.5, 1.5, 1e308,
    float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], [{}], ["1", 0], ["1", 0, 0], ["1", True],
    ["1", -1], ["1", 10**30], [["1"], 0], [{}, 0], {"": None}, {"__value__": 3}, {"__value__": {"__value__": []}},
    {"__value__": None}, {"name": "x"}, {"nodes": []}, {"subgraphs": 3}, {"subgraphs": [3]},
    {"subgraphs": [{"id": []}]}, list(range(3000)),
)  # fmt: skip


def odd_value(draws: random.Random) -> Any:
    """Some are marks that `text_of` writes out: deep ones, long numbers, and numbers beyond all floats."""
    kind = draws.random()
    if kind < 0.1:
        return f"@deep {draws.choice(DEEP)}"
    if kind < 0.16:
        return draws.choice(("@digits", "@beyond"))
    return copied(draws.choice(TEXTS if kind < 0.45 else VALUES))


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def text_of(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    for deep in DEEP:
        text = text.replace(f'"@deep {deep}"', "[" * deep + "]" * deep)
    return text.replace('"@digits"', "9" * DIGITS).replace('"@beyond"', "1e400")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every list or object in a JSON value, with every key or index of it."""
    found, todo = [], [value]
    while todo:
        holder = todo.pop()
        items = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
        found += [(holder, key) for key, _ in items]
        todo += [held for _, held in items if isinstance(held, (dict, list)) and held]
    return found


def changed(value: Any, draws: random.Random, times: int) -> Any:
    """`value`, a list or object, with so many changes made in it, and seldom something else in its place."""
    if draws.random() < 0.01:
        return odd_value(draws)
    for _ in range(times):
        found = places(value)
        if not found:
            return value
        keys = sorted({str(key) for _, key in found if isinstance(key, str)}) or [""]
        key = draws.choice(keys)  # a rare key as often as a common one
        chosen = [place for place in found if place[1] == key] or found
        change(*draws.choice(chosen if draws.random() < 0.8 else found), draws, found)
    return value


def change(holder: Any, key: Any, draws: random.Random, others: list[tuple[Any, Any]]) -> None:
    """One change to what a list or object holds at a place."""
    other, at = draws.choice(others)
    kind = draws.choice(("odd", "odd", "odd", "other", "gone", "again", "wrapped", "renamed", "swapped"))
    if kind == "odd":
        holder[key] = odd_value(draws)
    elif kind == "other":
        holder[key] = copied(other[at])
    elif kind == "gone":
        del holder[key]
    elif kind == "again" and isinstance(holder, list):
        holder.insert(draws.randrange(len(holder) + 1), copied(holder[key]))
    elif kind == "wrapped":
        holder[key] = draws.choice(
            ([holder[key]], {"__value__": holder[key]}, {"x": holder[key]}, {str(key): holder[key]})
        )
    elif kind == "renamed" and isinstance(holder, dict):
        holder[draws.choice((draws.choice(TEXTS), str(at)))] = holder.pop(key)
    else:
        values = copied([holder[key], other[at]])
        other[at], holder[key] = values
