"""What a node reports stands in it whole, also when the host need not run it again, and is no part of what is saved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.comfy_host import Json, Server
from support.front_end import NODES_2, QUEUE, Page, open_front_end
from support.workflow_files import read, workflow

# The only report of a kind, in the middle of the window, as large as it is drawn by itself.
LOOK_AT = """kind => {
    const node = app.graph.nodes.find(node => node.type === kind);
    Object.assign(app.canvas.ds, {scale: 1, offset: [300 - node.pos[0], 100 - node.pos[1]]});
    app.canvas.setDirty(true, true);
}"""
# What there is of the node, and of its field: the height of what it holds and of what is seen of it.
STATE = """kind => {
    const node = app.graph.nodes.find(node => node.type === kind);
    const field = node.widgets?.find(widget => widget.name === 'report')?.element?.querySelector('textarea');
    const {size, widgets_values} = node.serialize();
    return {
        text: field?.value, editable: field && !field.readOnly,
        hidden: field ? field.scrollHeight - field.clientHeight : 0,
        height: node.size[1], needs: node.computeSize()[1], saved: size[1], values: widgets_values ?? [],
    };
}"""
LATEST = ["MGTDescribeModel", "MGTSCQCalibrate"]
WORKFLOW = {"MGTDescribeModel": "all_choices", "MGTSCQCalibrate": "quantization", "MGTPreset": "presets"}
LAST_LINE = {"MGTDescribeModel": "13. MGT Min-p: p 0", "MGTSCQCalibrate": "Largest errors of a layer's output: "}


@pytest.fixture(scope="module")
def opened(server: Server, browser, mode: str) -> Iterator[Page]:
    yield open_front_end(server, browser, mode)


def load(page, graph: Json, kind: str) -> None:
    page.evaluate("w => app.loadGraphData(w, true, true, 'report')", graph)
    page.evaluate(LOOK_AT, kind)
    page.wait_for_timeout(800)


def queue(page, kind: str) -> Json:
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    page.wait_for_timeout(1500)  # the next frames lay the node out
    return page.evaluate(STATE, kind)


def field_of(page, text: str):
    """As a person finds it: the field that holds this text."""
    return next(f for f in page.get_by_role("textbox").all() if f.is_visible() and f.input_value() == text)


@pytest.mark.parametrize("kind", LATEST)
def test_a_report_is_there_to_its_last_line(opened: Page, mode: str, kind: str) -> None:
    page = opened.page
    load(page, read(workflow(WORKFLOW[kind])), kind)
    before = page.evaluate(STATE, kind)
    shown = queue(page, kind)
    assert shown["text"].splitlines()[-1].startswith(LAST_LINE[kind])
    assert shown["hidden"] <= 0 and not shown["editable"]
    assert shown["values"] == before["values"]
    assert shown["height"] >= before["height"] and (mode == NODES_2 or shown["height"] >= shown["needs"])
    place = field_of(page, shown["text"]).bounding_box()
    # Nothing lies over its last line, or beside it in place of it.
    told = "([x, y]) => document.elementFromPoint(x, y)?.value"
    assert page.evaluate(told, [place["x"] + 20, place["y"] + place["height"] - 12]) == shown["text"]
    again = queue(page, kind)  # from the cache
    assert (again["text"], again["height"]) == (shown["text"], shown["height"])


def test_an_output_node_reports_from_the_cache_in_a_new_tab(opened: Page, server: Server, browser) -> None:
    kind = "MGTDescribeModel"
    page = open_front_end(server, browser).page
    load(page, read(workflow(WORKFLOW[kind])), kind)
    assert page.evaluate(STATE, kind)["text"] is None
    assert LAST_LINE[kind] in queue(page, kind)["text"]


def test_nothing_of_it_is_saved_copied_or_queued(opened: Page) -> None:
    page, kind = opened.page, "MGTPreset"
    load(page, read(workflow(WORKFLOW[kind])), kind)
    before = page.evaluate(STATE, kind)
    shown = queue(page, kind)
    assert shown["text"] and shown["values"] == before["values"] == ["built-in"]
    assert shown["saved"] == pytest.approx(before["saved"], abs=1)
    output = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert all(set(node["inputs"]) == {"preset", "model"} for node in output.values() if node["class_type"] == kind)

    saved = page.evaluate("() => app.graph.serialize()")
    assert shown["text"] not in str(saved)
    load(page, saved, kind)
    reopened = page.evaluate(STATE, kind)
    assert reopened["text"] is None and reopened["values"] == ["built-in"]
    assert reopened["height"] == pytest.approx(before["height"], abs=1)


def test_a_node_in_a_subgraph_reports(opened: Page, mode: str) -> None:
    page, kind = opened.page, "MGTDescribeModel"
    load(page, read(workflow(WORKFLOW[kind])), kind)
    page.evaluate(
        """kind => {
            app.canvas.selectItems(app.graph.nodes.filter(node => node.type === kind));
            return app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph');
        }""",
        kind,
    )
    page.wait_for_function("() => app.graph.nodes.some(node => node.subgraph)")
    assert page.evaluate(QUEUE)["kind"] == "execution_success"
    page.wait_for_timeout(500)
    graph = "{graph: window.app.graph.nodes.find(n => n.subgraph).subgraph}"
    inside = f"kind => {{ const app = {graph}; return ({STATE})(kind) }}"
    assert LAST_LINE[kind] in page.evaluate(inside, kind)["text"]
