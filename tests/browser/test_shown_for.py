"""Widgets that a choice does not need are not there, however the choice came about, and keep their values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.comfy_host import Json, Server
from support.front_end import NODES_2, Page, open_front_end

SIGMOID = ["schedule", "sigmoid_start", "sigmoid_end", "sigmoid_tau"]
VALUES = [2.0, -3.0, 3.0, 1.0]
NOWHERE = (1100, 700)  # on the canvas, beside every node

# The only node of a new graph, in the middle of the window.
ALONE = """async name => {
    const empty = {nodes: [], links: [], groups: [], extra: {}, last_node_id: 0, last_link_id: 0, version: 0.4};
    await app.loadGraphData({id: crypto.randomUUID(), ...empty}, true, true, 'alone');
    const node = LiteGraph.createNode(name);
    node.pos = [300, 200];
    app.graph.add(node);
    Object.assign(app.canvas.ds, {scale: 1, offset: [100, 100]});
    app.canvas.setDirty(true, true);
}"""
LAST = "app.graph.nodes.filter(node => node.type.startsWith('MGT')).at(-1)"
STATE = f"""() => {{
    const node = {LAST};
    return {{
        shown: node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name),
        height: node.size[1],
        needs: node.computeSize()[1],
        values: node.serialize().widgets_values,
    }};
}}"""
# Where on the screen a widget is that the canvas draws.
PLACE = f"""name => {{
    const node = {LAST};
    const widget = node.widgets.find(widget => widget.name === name);
    const {{left, top}} = app.canvas.canvas.getBoundingClientRect();
    const {{scale, offset}} = app.canvas.ds;
    const place = [node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10];
    return [left + (place[0] + offset[0]) * scale, top + (place[1] + offset[1]) * scale];
}}"""
WIRE = f"""name => {{
    const node = {LAST};
    const source = LiteGraph.createNode('PrimitiveFloat');
    source.pos = [0, 500];
    app.graph.add(source);
    source.connect(0, node, node.inputs.findIndex(input => input.name === name));
}}"""
UNWIRE = f"name => {{ const node = {LAST}; node.disconnectInput(node.inputs.findIndex(i => i.name === name)); }}"

SIZE = f"() => [...{LAST}.size]"
FOLD = f"() => {LAST}.collapse()"  # and unfold


@pytest.fixture(scope="module")
def opened(server: Server, browser, mode: str) -> Iterator[Page]:
    opened = open_front_end(server, browser, mode)
    yield opened
    opened.page.context.close()


def choose(page, mode: str, widget: str, value: str) -> None:
    """As a person does."""
    if mode == NODES_2:
        page.get_by_role("combobox", name=widget).click()
        page.get_by_role("option", name=value, exact=True).click()
    else:
        page.mouse.click(*page.evaluate(PLACE, widget))
        page.get_by_text(value, exact=True).last.click()
    page.wait_for_timeout(500)  # the next frames lay the node out
    page.mouse.click(*NOWHERE)  # what can be undone is looked at with every click


def check(page, mode: str, shown: list[str], values: list | None = None) -> Json:
    """The widgets that are there, as the node knows them and, where they are HTML, as they can be read."""
    page.wait_for_timeout(500)
    state = page.evaluate(STATE)
    assert state["shown"] == shown
    assert state["height"] >= state["needs"]
    if values is not None:
        assert state["values"] == values
    if mode == NODES_2:
        for name in SIGMOID:
            assert page.get_by_text(name, exact=True).last.is_visible() is (name in shown), name
    return state


def saved(schedule: str, height: float) -> Json:
    """A workflow with the node, as a file holds it."""
    output = {"name": "schedule", "type": "MGT_SCHEDULE", "links": []}
    node = {"id": 1, "type": "MGTMaskSchedule", "pos": [300, 200], "size": [300, height], "flags": {}, "order": 0}
    node |= {"mode": 0, "inputs": [], "outputs": [output], "properties": {}, "widgets_values": [schedule, *VALUES]}
    return {
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "groups": [],
        "extra": {},
        "version": 0.4,
    }


def load(page, graph: Json) -> None:
    page.evaluate("w => app.loadGraphData(w, true, true, 'shown')", graph)


def test_a_choice_by_hand_its_undoing_and_a_copy(opened: Page, mode: str) -> None:
    page = opened.page
    page.evaluate(ALONE, "MGTMaskSchedule")
    low = check(page, mode, ["schedule"], ["cosine", *VALUES])
    choose(page, mode, "schedule", "pow")
    middle = check(page, mode, ["schedule", "exponent"], ["pow", *VALUES])
    choose(page, mode, "schedule", "sigmoid")
    high = check(page, mode, SIGMOID, ["sigmoid", *VALUES])
    assert low["height"] < middle["height"] < high["height"]

    page.evaluate("() => app.canvas.selectItems([app.graph.nodes[0]])")
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    page.wait_for_function("() => app.graph.nodes.length === 2")
    check(page, mode, SIGMOID, ["sigmoid", *VALUES])
    page.keyboard.press("Control+z")
    page.wait_for_function("() => app.graph.nodes.length === 1")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => app.graph.nodes[0]?.widgets[0].value === 'pow'")
    check(page, mode, ["schedule", "exponent"], ["pow", *VALUES])
    page.keyboard.press("Control+y")
    page.wait_for_function("() => app.graph.nodes[0]?.widgets[0].value === 'sigmoid'")
    check(page, mode, SIGMOID, ["sigmoid", *VALUES])

    page.evaluate(ALONE, "MGTMaskSchedule")
    again = check(page, mode, ["schedule"])
    assert again["height"] == low["height"]
    assert opened.errors == []


def test_a_file_shows_what_its_choice_needs_and_keeps_its_size(opened: Page, mode: str) -> None:
    """One with room for all fields, as they were all shown once, is fitted; any other size is somebody's own."""
    page = opened.page
    load(page, saved("pow", 154))
    state = check(page, mode, ["schedule", "exponent"], ["pow", *VALUES])
    assert state["height"] < 100
    load(page, saved("sigmoid", 300))
    state = check(page, mode, SIGMOID, ["sigmoid", *VALUES])
    assert state["height"] == 300
    assert page.evaluate("() => app.graph.serialize().nodes[0].widgets_values") == ["sigmoid", *VALUES]


def test_a_folded_node_is_fitted_when_it_is_unfolded(opened: Page, mode: str) -> None:
    """It shows no widgets meanwhile, whatever becomes of them."""
    page = opened.page
    graph = saved("pow", 154)
    graph["nodes"][0]["flags"] = {"collapsed": True}
    load(page, graph)
    page.wait_for_timeout(500)
    page.evaluate(FOLD)
    low = check(page, mode, ["schedule", "exponent"], ["pow", *VALUES])
    assert low["height"] < 100
    page.evaluate(FOLD)
    page.evaluate(WIRE, "sigmoid_tau")
    page.evaluate(FOLD)
    assert check(page, mode, ["schedule", "exponent", "sigmoid_tau"])["height"] > low["height"]
    page.evaluate(UNWIRE, "sigmoid_tau")
    assert check(page, mode, ["schedule", "exponent"])["height"] == low["height"]


def test_a_wired_widget_is_there_whatever_is_chosen(opened: Page, mode: str) -> None:
    page = opened.page
    page.evaluate(ALONE, "MGTMaskSchedule")
    page.evaluate(WIRE, "sigmoid_tau")
    check(page, mode, ["schedule", "sigmoid_tau"])
    page.wait_for_timeout(500)
    graph = page.evaluate("() => app.graph.serialize()")
    load(page, graph)
    check(page, mode, ["schedule", "sigmoid_tau"])
    assert page.evaluate(SIZE) == next(node["size"] for node in graph["nodes"] if node["type"] == "MGTMaskSchedule")
    page.evaluate(UNWIRE, "sigmoid_tau")
    check(page, mode, ["schedule"])


def test_what_becomes_of_a_seed_goes_with_it(opened: Page, mode: str) -> None:
    page = opened.page
    page.evaluate(ALONE, "MGTVaryTokens")
    page.wait_for_timeout(500)
    assert page.evaluate(STATE)["shown"] == ["share", "order", "seed", "control_after_generate"]
    choose(page, mode, "order", "least confident")
    assert page.evaluate(STATE)["shown"] == ["share", "order"]
