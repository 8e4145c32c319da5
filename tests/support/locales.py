"""The locale files as they are."""

import json
from collections.abc import Iterator

from .pack import ROOT

LOCALES = ROOT / "locales"
ENGLISH = "en"
FILES = ("main.json", "nodeDefs.json")
NATIVE = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]"}  # characters that any sentence of the language has

Tree = dict[str, "str | Tree"]


def read(language: str, file: str) -> Tree:
    path = LOCALES / language / file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, text) of every text."""
    for key, value in tree.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]


def languages() -> list[str]:
    return sorted(path.name for path in LOCALES.iterdir())
