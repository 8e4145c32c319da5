"""Sizes that no model takes never reach the queue."""

from __future__ import annotations

import pytest

from support.comfy_host import Json, Server, changed, node_id


@pytest.mark.parametrize(
    "sides, words",
    [
        ({"width": 136}, "width is 136 pixels (nearest: 128 and 144); models take multiples of 16 from 16 to 8192"),
        ({"width": 129, "height": 129}, "height is 129 pixels (nearest: 128 and 144)"),
        ({"height": 16384}, "height is 16384 pixels (nearest: 8192)"),
        ({"height": 0}, "height is 0 pixels (nearest: 16)"),
    ],
)
def test_odd_sizes_are_refused_when_queued(server: Server, prompt: Json, sides: Json, words: str) -> None:
    answer = server.submit(changed(prompt, {"MGTEmptyTokens": sides}))
    assert "prompt_id" not in answer
    (errors,) = [node["errors"] for node in answer["node_errors"].values()]
    assert node_id(prompt, "MGTEmptyTokens") in answer["node_errors"]
    assert all(words in error["details"] for error in errors), errors


def test_a_wired_size_is_judged_when_the_node_runs(server: Server, prompt: Json) -> None:
    wired = changed(prompt, {"MGTEmptyTokens": {"width": ["901", 0]}})
    wired["901"] = {"class_type": "PrimitiveInt", "inputs": {"value": 136}}
    assert "width is 136 pixels; this model takes multiples of 16" in (told := server.failure(wired))
    assert "the nearest are 128 and 144" in told
    wired["901"]["inputs"]["value"] = 64
    run = server.run(changed(wired, {"MGTSample": {"steps": 1}}))
    assert run.outcome == "execution_success", run.details


def test_a_tile_too_small_is_refused_when_queued(server: Server, prompt: Json) -> None:
    answer = server.submit(changed(prompt, {"MGTDecode": {"tile_size": 8}}))
    (errors,) = [node["errors"] for node in answer["node_errors"].values()]
    assert "accepted are 0" in errors[0]["details"]
