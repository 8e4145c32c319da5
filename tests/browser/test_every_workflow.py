"""Every workflow file opened, laid out and queued in ComfyUI's own front end, in each mode that it has: with
MGT_UPDATE_SCREENSHOTS=1 those that docs/workflows.md shows run in full and get their screenshots anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_workflow import to_api
from support.comfy_host import Json, Server
from support.front_end import (
    DEFAULT_BADGES,
    NO_BADGES,
    QUEUE,
    UPDATE,
    Page,
    contents,
    graph_screenshot,
    links_and_values,
    open_front_end,
)
from support.geometry import HIDDEN_TEXT, outside, overlaps, settled
from support.pack import ROOT
from support.workflow_files import WORKFLOWS, name, shortened

PICTURED = set(re.findall(r"images/comfyui_(\w+)\.webp", (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def opened(server: Server, browser, mode: str, modes: tuple[str, ...]) -> Iterator[Page]:
    """As after a fresh install, which shows at every node what pack it is of: it takes room."""
    opened = open_front_end(server, browser, mode, NO_BADGES if UPDATE and mode == modes[-1] else DEFAULT_BADGES)
    yield opened
    opened.page.context.close()


def look_at(page, graph: Json) -> None:
    """Nothing lies where it hides another thing."""
    nodes = settled(page)
    assert overlaps(nodes) == []
    assert [node["name"] for node in nodes if node["covered"]] == []
    assert outside(graph, nodes) == []
    assert page.evaluate(HIDDEN_TEXT) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_opens_and_runs(opened: Page, server: Server, modes: tuple[str, ...], path: Path) -> None:
    graph = json.loads(path.read_text())
    page = opened.page
    opened.errors.clear()
    opened.load(graph, path.stem)
    assert contents(page.evaluate("() => app.graph.serialize()")) == contents(graph)
    made = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert links_and_values(made) == links_and_values(to_api(graph, server.object_info()))
    nodes = settled(page)
    assert [n["name"] for n in nodes if n["size"][1] < n["needs"][1]] == []
    look_at(page, graph)

    pictured = UPDATE and name(path) in PICTURED and opened.mode == modes[-1]
    if not pictured:
        opened.load(shortened(graph), path.stem)
    server.free()  # what has run in another mode runs again, and shows its pictures and texts
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    look_at(page, graph)
    assert opened.errors == []
    if pictured:
        graph_screenshot(page, name(path))
