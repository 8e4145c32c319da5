"""Quantization on a real ComfyUI server: progress, previews, cancelling, the bytes that the host counts, and files."""

from __future__ import annotations

import pytest

from run_workflow import to_api
from support.comfy_host import Json, Server, changed, node_id
from support.workflow_files import read, workflow

CALIBRATE = "MGTSCQCalibrate"


@pytest.fixture(scope="module")
def quantizing(server: Server) -> Json:
    """The workflow, shortened, with its Save node at work."""
    graph = read(workflow("quantization"))
    for node in graph["nodes"]:
        if node["type"] == "MGTSaveModel":
            node["mode"] = 0
    return to_api(graph, server.object_info())


def test_calibrate_sample_and_save(server: Server, quantizing: Json) -> None:
    run = server.run(quantizing)
    assert run.outcome == "execution_success", run.details
    own = [seen for seen in run.progress if seen["node"] == node_id(quantizing, CALIBRATE)]
    assert own[-1]["value"] == own[-1]["max"] and len(own) > 5  # newer hosts leave some out
    assert run.previews and len(server.images(run)) == 2
    sizes = server.json("/mgt_sizes")
    transformers = [rest for network, *rest in sizes if network == "MeissonicTransformer"]
    assert all(counted == real > 0 for counted, real, _ in transformers), sizes
    held = {packed > 0: real for _, real, packed in transformers}
    assert held.keys() == {True, False} and held[True] < 0.45 * held[False]

    info = server.object_info()
    assert "demo-w4a8" in info["MGTLoadModel"]["input"]["required"]["model"][0]
    plain = to_api(read(workflow("text_to_image")), info)
    loaded = server.run(changed(plain, {"MGTLoadModel": {"model": "demo-w4a8"}}))
    assert loaded.outcome == "execution_success" and server.images(loaded)

    again = changed(quantizing, {CALIBRATE: {"seed": 1}})
    assert "exists already" in server.failure(again)


def test_quantization_widget_of_the_loader(server: Server) -> None:
    plain = to_api(read(workflow("text_to_image")), server.object_info())
    run = server.run(changed(plain, {"MGTLoadModel": {"quantization": "fp8"}}))
    assert run.outcome == "execution_success" and server.images(run)
    assert any(packed for network, _, _, packed in server.json("/mgt_sizes") if network == "MeissonicTransformer")


def test_cancelling_a_calibration(server: Server, quantizing: Json) -> None:
    asked = []

    def cancel(progress: Json) -> None:
        if progress["node"] == node_id(quantizing, CALIBRATE) and not asked:
            asked.append(progress["value"])
            server.interrupt()

    slow = changed(quantizing, {CALIBRATE: {"seed": 2, "steps": 100, "prompts": "a red heart"}})
    run = server.run(slow, on_progress=cancel)
    assert asked and run.outcome == "execution_interrupted"
    assert server.run(changed(slow, {CALIBRATE: {"steps": 2}, "MGTSaveModel": {"overwrite": True}})).outcome == (
        "execution_success"
    )
