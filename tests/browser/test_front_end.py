"""The shared graph in ComfyUI's own front end, driven through a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.comfy_host import Json, Server, node_id
from support.front_end import QUEUE, Page, contents, links_and_values, open_front_end

if TYPE_CHECKING:
    from playwright import sync_api as playwright

SHOWN = """([type, width, height]) => app.graph.nodes.some(node => node.type === type
    && node.imgs?.some(i => i.complete && i.naturalWidth === width && i.naturalHeight === height))"""


@pytest.fixture(scope="module")
def front_end(server: Server, browser: playwright.Browser, mode: str, workflow: Json) -> Iterator[Page]:
    """The workflow opened in a tab of its own."""
    opened = open_front_end(server, browser, mode)
    opened.load(workflow, "text_to_image")
    yield opened
    opened.page.context.close()


def test_the_graph_is_the_one_that_the_runner_sees(front_end: Page, prompt: Json) -> None:
    made = front_end.page.evaluate("async () => (await app.graphToPrompt()).output")
    assert links_and_values(made) == links_and_values(prompt)


def test_no_node_is_missing_and_no_widget_stray(front_end: Page, workflow: Json) -> None:
    """Loading and saving changes neither the nodes nor the values in their widgets."""
    saved = front_end.page.evaluate("() => app.graph.serialize()")
    assert contents(saved) == contents(workflow)


def test_a_queued_graph_shows_its_picture(front_end: Page, server: Server, prompt: Json) -> None:
    page = front_end.page
    server.free()  # what has run in another mode runs again
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    assert ended["previews"] > 0, "no live preview reached the front end"
    size = prompt[node_id(prompt, "MGTEmptyTokens")]["inputs"]
    page.wait_for_function(SHOWN, arg=["SaveImage", size["width"], size["height"]])
    assert front_end.errors == []
