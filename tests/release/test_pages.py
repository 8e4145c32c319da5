"""Every node has a help page with its picture, in every language, and a workflow that shows its use."""

import json
import re

import pytest

from support.help_pages import path_of, source
from support.locales import ENGLISH
from support.node_runs import NODES, inputs
from support.pack import ROOT, load_pack
from support.workflow_files import WORKFLOWS

NAMES = load_pack().NODE_DISPLAY_NAME_MAPPINGS
USED = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]}
DRAW = "MGT_UPDATE_SCREENSHOTS=1 ./mgt test tests/browser/test_help.py draws it, with COMFYUI_PATH set"


def page_of(name: str) -> str:
    path = source(name)
    assert path.is_file(), f"{NAMES[name]} has no help page: write web/docs/{name}.md"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NODES)
class TestNode:
    def test_has_a_help_page_that_names_every_socket(self, name):
        page = page_of(name)
        wanted = [f"# {NAMES[name]}\n", "## Inputs", "## Outputs", "## Example"]
        wanted += [f"**{key}**" for key in [*inputs(NODES[name]), *NODES[name].RETURN_NAMES]]
        assert [text for text in wanted if text not in page] == [], f"missing in web/docs/{name}.md: write it there"
        assert page.startswith(wanted[0]), f"web/docs/{name}.md has to begin with {wanted[0]!r}"

    def test_help_page_has_a_picture(self, name):
        linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page_of(name))
        assert f"images/{name}.png" in linked, f"web/docs/{name}.md shows no images/{name}.png: link it there; {DRAW}"
        assert (ROOT / "web" / "docs" / "images" / f"{name}.png").is_file(), f"images/{name}.png is missing: {DRAW}"

    def test_english_page_lies_where_the_front_end_asks_first(self, name):
        path = path_of(name, ENGLISH)
        assert path.is_file() and path.read_bytes() == source(name).read_bytes(), "run ./mgt locales"

    def test_is_used_by_a_workflow(self, name):
        assert name in USED, f"no workflow uses {NAMES[name]}: save one in workflows/, then run ./mgt pictures NAME"
