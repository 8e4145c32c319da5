"""Our nodes inside subgraphs: made of a graph by hand, and ready-made ones; both give what the flat graph gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.blueprints import BLUEPRINTS
from support.comfy_host import Json, Run, Server, pixels
from support.front_end import QUEUE, Page, open_front_end
from support.host_version import newer_only
from support.workflow_files import read, workflow

PROMPT, SEED = "a green star on a blue background", 7
VALUES = {"seed": SEED, "text": PROMPT}

# Sets the widgets of a node as a person's typing does.
SET = """([node, values]) => {
    const found = app.graph.nodes.find(each => each.title === node || each.type === node || each.subgraph && !node);
    for (const widget of found.widgets) if (widget.name in values) {
        widget.value = values[widget.name];
        widget.callback?.(widget.value, app.canvas, found);
    }
}"""
CONVERT = """types => {
    app.canvas.selectItems(app.graph.nodes.filter(node => node.title === 'Prompt' || types.includes(node.type)));
    return app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph');
}"""
# What the host has not promoted by itself, by a link from the subgraph's own input, as a person draws it.
PROMOTE = """wanted => {
    const {subgraph} = app.graph.nodes.find(node => node.subgraph);
    for (const [type, name, kind] of wanted) {
        if (subgraph.inputs.some(input => input.name === name)) continue;
        const node = subgraph.nodes.find(node => node.type === type);
        subgraph.addInput(name, kind).connect(node.inputs.find(input => input.widget?.name === name), node);
    }
}"""
INSIDE = """() => {
    const node = app.graph.nodes.find(node => node.subgraph).subgraph.nodes.find(n => n.type === 'MGTMaskSchedule');
    return node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name);
}"""
# The node of a blueprint, wired to a Save Image, and to a picture where it takes one.
WIRE = """async steps => {
    const node = app.graph.nodes.find(node => node.subgraph);
    const save = LiteGraph.createNode('SaveImage');
    save.pos = [node.pos[0] + 500, node.pos[1]];
    app.graph.add(save);
    node.connect(0, save, 0);
    if (node.inputs[0].type === 'IMAGE') {
        const image = LiteGraph.createNode('EmptyImage');
        image.pos = [node.pos[0] - 500, node.pos[1]];
        app.graph.add(image);
        image.connect(0, node, 0);
    }
    const widget = node.widgets.find(widget => widget.name === 'steps');
    widget.value = steps;
    widget.callback?.(steps, app.canvas, node);
}"""


@pytest.fixture(scope="module")
def opened(server: Server, browser, mode: str) -> Iterator[Page]:
    opened = open_front_end(server, browser, mode)
    yield opened
    opened.page.context.close()


def picture(page, server: Server) -> np.ndarray:
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    (image,) = server.images(Run(ended["detail"]["prompt_id"]))
    return pixels(image)


def load(page, graph: Json) -> None:
    page.evaluate("w => app.loadGraphData(w, true, true, 'subgraph')", graph)
    page.wait_for_timeout(500)


def test_a_part_that_becomes_a_subgraph(opened: Page, server: Server) -> None:
    """Promoted seed and prompt reach the nodes inside, also from a saved file, and hidden fields stay hidden."""
    page = opened.page
    graph = read(workflow("text_to_image"))
    for node in graph["nodes"]:
        if node["type"] == "MGTSample":
            node["widgets_values"][0] = 3  # another picture, so that what is promoted has to be heeded
    load(page, graph)
    before = picture(page, server)
    page.evaluate(SET, ["MGTSample", VALUES])
    page.evaluate(SET, ["Prompt", VALUES])
    flat = picture(page, server)
    assert (flat != before).any()

    load(page, graph)
    page.evaluate(CONVERT, ["MGTSample", "MGTMaskSchedule"])
    page.wait_for_function("() => app.graph.nodes.some(node => node.subgraph)")
    assert page.evaluate(INSIDE) == ["schedule"]
    page.evaluate(PROMOTE, [["MGTTextEncode", "text", "STRING"], ["MGTSample", "seed", "INT"]])
    page.wait_for_timeout(500)
    assert (picture(page, server) == before).all()
    page.evaluate(SET, ["", VALUES])
    assert (picture(page, server) == flat).all()

    saved = page.evaluate("() => app.graph.serialize()")
    load(page, graph)
    load(page, saved)
    assert page.evaluate(INSIDE) == ["schedule"]
    assert (picture(page, server) == flat).all()


def test_the_host_lists_ours(server: Server) -> None:
    newer_only(server, "list of subgraphs")
    listed = {entry["name"] for entry in server.json("/global_subgraphs").values()}
    assert {path.stem for path in BLUEPRINTS} <= listed


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_ready_made_one_is_found_and_runs(opened: Page, server: Server, path: Path) -> None:
    newer_only(server, "list of subgraphs")
    page = opened.page
    load(page, {"nodes": [], "links": [], "groups": [], "last_node_id": 0, "last_link_id": 0, "version": 0.4})
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_role("dialog").get_by_role("combobox", name="Add a node").fill(path.stem)
    page.get_by_role("option", name=path.stem).first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("() => app.graph.nodes.some(node => node.subgraph)")
    page.mouse.click(1100, 700)  # where it is to be
    page.wait_for_timeout(500)
    page.evaluate(WIRE, 2)
    made = picture(page, server)
    assert made.shape == (128, 128, 3)
    assert made.std() > 5
