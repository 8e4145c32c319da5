"""A graph that was saved when sockets had other names, opened and queued in ComfyUI's own front end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.comfy_host import Server, node_id
from support.front_end import QUEUE, Page, open_front_end
from support.workflow_files import SAVED, shortened

(OLD,) = [path for path in SAVED if path.stem == "quantization"]


@pytest.fixture(scope="module")
def opened(server: Server, browser) -> Iterator[Page]:
    yield open_front_end(server, browser)


def test_links_to_a_name_of_before_are_kept_and_queued(opened: Page) -> None:
    page = opened.page
    graph = shortened(json.loads(OLD.read_text()))
    opened.load(graph, "old")
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    loader = node_id(prompt, "MGTLoadModel")
    for name in ("MGTSCQCalibrate", "MGTQuantizeParts"):
        assert prompt[node_id(prompt, name)]["inputs"]["text"] == [loader, 1]
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
