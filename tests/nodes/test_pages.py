"""Help pages that are there: of a node each, with pictures that are there and not too large.

Whether each node has one is asked before a release, by tests/release."""

import re

import pytest
from PIL import Image

from support.node_runs import NODES, inputs
from support.pack import ROOT

FOLDER = ROOT / "web" / "docs"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pictures_of_a_page_are_there(path):
    for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        with Image.open(FOLDER / link) as picture:
            picture.verify()


def test_pictures_of_the_help_pages_are_small_and_all_used():
    pictures = list((FOLDER / "images").iterdir())
    assert sum(path.stat().st_size for path in pictures) < 3_000_000
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [path.name for path in pictures if f"images/{path.name}" not in text] == []


def test_no_help_page_without_a_node():
    assert {path.stem for path in PAGES} <= set(NODES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_says_what_is_folded_away(path):
    folded = [key for key, (_, options) in inputs(NODES[path.stem]).items() if options.get("advanced")]
    told = re.findall(r"^Folded away until you choose \*Show advanced inputs\*: (.*)\.$", path.read_text("utf-8"), re.M)
    assert told == ([", ".join(f"**{key}**" for key in folded)] if folded else [])
