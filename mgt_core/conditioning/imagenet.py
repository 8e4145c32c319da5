"""The 1,000 ImageNet classes by name."""

import difflib
import re
from functools import cache
from pathlib import Path

from ..errors import MGTError, join_some
from ..types import UNCONDITIONAL

NO_CLASS = "no class"
FILE = Path(__file__).parent / "imagenet.txt"


@cache
def class_names() -> tuple[str, ...]:
    """Names of every class, synonyms separated by commas, in the order of the labels."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def choices() -> list[str]:
    """No class, then every class as "label: names"; `find_class` takes them all."""
    return [NO_CLASS, *(f"{label}: {names}" for label, names in enumerate(class_names()))]


def find_class(query: str) -> int:
    """Label of a class given by its number or one of its names, or by words that only its names hold.

    "no class" gives UNCONDITIONAL. Raises MGTError naming what is near when there is no such class or several.
    """
    text = " ".join(query.casefold().split())
    if text == NO_CLASS:
        return UNCONDITIONAL
    if number := re.match(r"\d{1,9}(?=\s*(:|$))", text):
        return int(number[0])
    for found in matches(text):
        if len(found) == 1:
            return found[0]
        if found:
            raise MGTError(f"the class {query!r} may be {some_of(found)}; give one of these numbers")
    near = difflib.get_close_matches(text, synonyms(), n=3, cutoff=0.6)
    hint = f"near are {join_some(near)}" if near else "give a name, or a number from 0 to 999"
    raise MGTError(f"the class {query!r} is none of the 1,000 of ImageNet; {hint}")


def matches(text: str) -> list[list[int]]:
    """Labels whose first name is `text`, whose names hold it, and whose words hold all of its words."""
    words = text.split()
    return [
        [label for label, names in enumerate(folded()) if names[0] == text],
        [label for label, names in enumerate(folded()) if text in names],
        [label for label, names in enumerate(folded()) if words and set(words) <= set(" ".join(names).split())],
    ]


@cache
def folded() -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.strip() for name in names.casefold().split(",")) for names in class_names())


@cache
def synonyms() -> tuple[str, ...]:
    return tuple(name for names in folded() for name in names)


def some_of(labels: list[int]) -> str:
    return join_some((f"{label} ({folded()[label][0]})" for label in labels), 5)
