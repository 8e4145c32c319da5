"""Every workflow file opened, laid out and queued in ComfyUI's own front end: with MGT_UPDATE_SCREENSHOTS=1 those that
docs/workflows.md shows run in full and get their screenshots anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_workflow import to_api
from support.comfy_host import Server
from support.front_end import QUEUE, UPDATE, Page, contents, graph_screenshot, links_and_values, open_front_end
from support.pack import ROOT
from support.workflow_files import WORKFLOWS, name, shortened

BOXES = """() => app.graph.nodes.map(node => ({
    name: node.title, box: [...node.boundingRect], size: [...node.size], needs: [...node.computeSize()]}))"""
PICTURED = set(re.findall(r"images/comfyui_(\w+)\.png", (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def opened(server: Server, browser) -> Iterator[Page]:
    yield open_front_end(server, browser)


def overlap(a: list[float], b: list[float]) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_opens_and_runs(opened: Page, server: Server, path: Path) -> None:
    graph = json.loads(path.read_text())
    page = opened.page
    page.evaluate("([w, name]) => app.loadGraphData(w, true, true, name)", [graph, path.stem])
    if '"models"' in path.read_text():
        page.keyboard.press("Escape")  # the dialog that offers them
    assert contents(page.evaluate("() => app.graph.serialize()")) == contents(graph)
    made = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert links_and_values(made) == links_and_values(to_api(graph, server.object_info()))

    nodes = page.evaluate(BOXES)
    assert [n["name"] for n in nodes if n["size"][1] < n["needs"][1]] == []
    pairs = [(a["name"], b["name"]) for i, a in enumerate(nodes) for b in nodes[:i] if overlap(a["box"], b["box"])]
    assert pairs == []

    pictured = UPDATE and name(path) in PICTURED
    if not pictured:
        page.evaluate("([w, name]) => app.loadGraphData(w, true, true, name)", [shortened(graph), path.stem])
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    assert opened.errors == []
    if pictured:
        graph_screenshot(page, name(path))
