"""What a node says of an error is what people read first, once: 0.33's own message names the node alone."""

from __future__ import annotations

import re

from support.comfy_host import Json, Server
from support.front_end import QUEUE, open_front_end
from support.host_version import FIRST_WITH_NODES_2, newer_only, version
from support.workflow_files import read, workflow

REASON = "the temperature of this node is out of its mind"
# A refusal as the server answers it, of one of our nodes and of one of another pack.
REFUSED = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
    "node_errors": {
        number: {
            "errors": [
                {
                    "type": "custom_validation_failed",
                    "message": "Custom validation failed for node",
                    "details": f"{name} - {REASON} ({number})",
                    "extra_info": {"input_name": name},
                }
                for name in ("width", "height")  # as one answer of VALIDATE_INPUTS comes back for each input
            ],
            "dependent_outputs": ["10"],
            "class_type": kind,
        }
        for number, kind in {"5": "MGTEmptyTokens", "10": "SaveImage"}.items()
    },
}

# As the server tells of a node that raised: the sentence is the node's, whatever it is of.
FAILED = """([sentence, type]) => app.api.dispatchCustomEvent('execution_error', {
    prompt_id: 'none', node_id: '5', node_type: type, executed: [], exception_message: sentence + '\\n',
    exception_type: 'MGTError', traceback: [], current_inputs: {}, current_outputs: {}, timestamp: 0})"""


def opened_with(server: Server, browser, width: int):
    opened = open_front_end(server, browser)
    graph: Json = read(workflow("text_to_image"))
    for node in graph["nodes"]:
        if node["type"] == "MGTEmptyTokens":
            node["widgets_values"][0] = width
    opened.load(graph, "error")
    return opened.page


def test_a_failed_run_says_why_once(server: Server, browser) -> None:
    page = opened_with(server, browser, 128)
    page.evaluate(FAILED, [REASON, "MGTEmptyTokens"])
    page.evaluate(FAILED, [REASON, "MGTEmptyTokens"])
    page.get_by_text(REASON, exact=True).first.wait_for()
    page.wait_for_timeout(1000)
    shown = [text for text in page.get_by_text(REASON).all() if text.is_visible()]
    assert len(shown) == 1


def test_a_sentence_is_text_and_of_bounded_length(server: Server, browser) -> None:
    newer_only(server, "message of its own that says less")
    page = opened_with(server, browser, 128)
    for sentence in (f"<b>{REASON}</b>", REASON * 100):
        page.evaluate(FAILED, [sentence, "MGTEmptyTokens"])
    alerts = page.get_by_role("alert").filter(has_text=REASON)
    alerts.nth(1).wait_for()
    texts = alerts.all_inner_texts()
    assert any(text.startswith(f"<b>{REASON}</b>") for text in texts)
    assert max(map(len, texts)) < 700


def test_nodes_of_others_are_left_to_the_front_end(server: Server, browser) -> None:
    newer_only(server, "message of its own that says less")
    page = opened_with(server, browser, 128)
    page.evaluate(FAILED, [REASON, "SaveImage"])
    page.wait_for_timeout(1500)
    assert page.get_by_role("alert").filter(has_text=REASON).count() == 0


def test_a_size_that_no_token_grid_has(server: Server, browser) -> None:
    """A real one, refused when it is queued or when it runs."""
    page = opened_with(server, browser, 136)
    page.evaluate("() => { app.queuePrompt(0, 1) }")
    page.get_by_text(re.compile(r"width.*\b136\b")).first.wait_for()


def test_a_refusal_says_why(server: Server, browser) -> None:
    page = opened_with(server, browser, 128)
    page.route("**/api/prompt", lambda route: route.fulfill(status=400, json=REFUSED))
    page.evaluate("() => { app.queuePrompt(0, 1) }")
    if version(server) < FIRST_WITH_NODES_2:
        page.get_by_text(REASON).first.wait_for()
        assert page.get_by_role("alert").filter(has_text=REASON).count() == 0
        return
    said = page.get_by_role("alert").filter(has_text=REASON)
    said.first.wait_for()
    page.wait_for_timeout(1000)
    assert said.count() == 1
    assert said.first.inner_text().startswith(f"{REASON} (5)")
    page.evaluate("() => { app.queuePrompt(0, 1) }")  # once more: what was said before goes
    page.wait_for_timeout(2000)
    assert said.count() == 1
    page.unroute("**/api/prompt")
    assert page.evaluate(QUEUE)["kind"] == "execution_success"
    assert said.count() == 0
