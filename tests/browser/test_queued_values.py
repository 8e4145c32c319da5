"""What the front end fills in when it queues: the runner's prompt is the one that the browser sends."""

from __future__ import annotations

from run_workflow import to_api
from support import queued
from support.comfy_host import Server
from support.front_end import links_and_values, open_front_end


def test_texts_are_filled_in_as_the_browser_does(server: Server, browser) -> None:
    opened = open_front_end(server, browser)
    graph = queued.graph()
    opened.load(graph, "queued")
    theirs = opened.page.evaluate("async () => (await app.graphToPrompt()).output")
    opened.page.context.close()
    ours = to_api(graph, server.object_info())
    texts = {key: node["inputs"].get("text", node["inputs"].get("filename_prefix")) for key, node in theirs.items()}
    assert {key: texts[key] for key in queued.expected()} == queued.expected()
    assert links_and_values(ours) == links_and_values(theirs)
