"""The pack inside a real ComfyUI server: what a person who shares or queues a graph meets."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from run_workflow import main
from support.comfy_host import PACK, Json, Server, changed, node_id, pixels
from support.workflow_files import workflow

TEXT_TO_IMAGE = workflow("text_to_image")

NODES = {
    "MGTLoadModel",
    "MGTTextEncode",
    "MGTMicroConditions",
    "MGTEmptyTokens",
    "MGTMaskSchedule",
    "MGTSamplerMaskGIT",
    "MGTSample",
    "MGTDecode",
}

REFERENCE = {"seed": 7, "steps": 4}  # of MGT Sample, few steps because many tests sample
NETWORKS = {"MeissonicTransformer", "CLIPTextModelWithProjection", "VQModel"}


def with_seed(prompt: Json, seed: int) -> Json:
    """The graph with another seed, in few steps."""
    return changed(prompt, {"MGTSample": {**REFERENCE, "seed": seed}})


def picture(server: Server, prompt: Json) -> np.ndarray:
    """The one image that a prompt makes, [height, width, 3]."""
    run = server.run(prompt)
    assert run.outcome == "execution_success", run.details
    (image,) = server.images(run)
    return pixels(image)


def run_and_cancel(server: Server, prompt: Json) -> int:
    """Ask a long run to stop after its first step; how many steps it reports after that.

    A batch makes a step longer than the request takes.
    """
    asked_after: int | None = None

    def cancel(progress: Json) -> None:
        nonlocal asked_after
        if asked_after is None and progress["node"] == node_id(prompt, "MGTSample"):
            asked_after = progress["value"]
            server.interrupt()

    slow = {"MGTSample": {"steps": 200, "seed": 9}, "MGTEmptyTokens": {"batch_size": 8}}
    run = server.run(changed(prompt, slow), on_progress=cancel)
    assert asked_after is not None
    assert run.outcome == "execution_interrupted"
    return run.progress[-1]["value"] - asked_after


@pytest.fixture(scope="module")
def reference(server: Server, prompt: Json) -> np.ndarray:
    """The picture of seed 7."""
    return picture(server, changed(prompt, {"MGTSample": REFERENCE}))


def test_every_node_is_registered(server: Server) -> None:
    assert server.pack_nodes().keys() >= NODES


def test_every_node_is_described(server: Server) -> None:
    """A description, a category of ours, and a tooltip on every input and output."""
    lacking = []
    for name, info in server.pack_nodes().items():
        if not info["description"]:
            lacking.append(f"{name} description")
        if info["category"].split("/")[0] != "MGT":
            lacking.append(f"{name} category {info['category']!r}")
        for group in ("required", "optional"):
            for key, spec in info["input"].get(group, {}).items():
                if len(spec) < 2 or not spec[1].get("tooltip"):
                    lacking.append(f"{name} input {key}")
        tooltips = info.get("output_tooltips", ())
        if len(tooltips) != len(info["output"]) or not all(tooltips):
            lacking.append(f"{name} outputs")
    assert lacking == []


def test_a_template_is_the_workflow_file(server: Server, workflow: Json) -> None:
    assert server.json(f"/api/workflow_templates/{PACK}/{quote(TEXT_TO_IMAGE.name)}") == workflow


def test_text_to_image(server: Server, prompt: Json) -> None:
    """Progress from step to step, previews on the way, and a picture of the size asked for."""
    steps = 24  # the built-in model's, to which the workflow leaves it
    size = prompt[node_id(prompt, "MGTEmptyTokens")]["inputs"]
    run = server.run(changed(prompt, {"MGTSample": {"seed": 1}}))
    assert run.outcome == "execution_success", run.details

    sampling = [p for p in run.progress if p["node"] == node_id(prompt, "MGTSample")]
    made = [p["value"] for p in sampling]
    assert made == sorted(set(made)) and made[-1] == steps, made
    assert len(made) >= steps // 4, "hosts leave out steps that follow each other too fast, but not so many"
    assert {p["max"] for p in sampling} == {steps}

    assert run.previews
    assert np.ptp(pixels(run.previews[-1])) > 0, "the last preview is one colour"

    (image,) = server.images(run)
    assert image.size == (size["width"], size["height"])
    assert np.ptp(pixels(image)) > 0, "the picture is one colour"


def test_seed_decides_the_picture(server: Server, prompt: Json, reference: np.ndarray) -> None:
    other = picture(server, with_seed(prompt, 8))  # also drops seed 7 from the host's cache
    again = server.run(with_seed(prompt, 7))
    assert again.progress, "the host answered from its cache"
    np.testing.assert_array_equal(pixels(server.images(again)[0]), reference)
    assert (other != reference).any()


def test_a_batch_is_its_single_pictures(server: Server, prompt: Json, reference: np.ndarray) -> None:
    run = server.run(changed(with_seed(prompt, 7), {"MGTEmptyTokens": {"batch_size": 2}}))
    singles = np.stack([reference, picture(server, with_seed(prompt, 8))])
    batch = np.stack([pixels(image) for image in server.images(run)])
    # The same tokens; decoding several at once may round a colour differently.
    np.testing.assert_allclose(batch.astype(int), singles, rtol=0, atol=1)


def test_the_runner_downloads_the_picture(server: Server, reference: np.ndarray, tmp_path: Path) -> None:
    """run_workflow.py on this server, from the shared file and from the picture that it saved."""
    settings = [f"--set=MGTSample.{name}={value}" for name, value in REFERENCE.items()]
    assert main([str(TEXT_TO_IMAGE), *settings, "--server", server.address, "--output", str(tmp_path / "first")]) == 0
    (saved,) = (tmp_path / "first").rglob("*.png")
    np.testing.assert_array_equal(pixels(Image.open(saved)), reference)

    assert main([str(saved), "--server", server.address, "--output", str(tmp_path / "second")]) == 0
    (again,) = (tmp_path / "second").rglob("*.png")
    np.testing.assert_array_equal(pixels(Image.open(again)), reference)


def test_cancel_stops_within_a_step(server: Server, prompt: Json, reference: np.ndarray) -> None:
    assert run_and_cancel(server, prompt) <= 1
    np.testing.assert_array_equal(picture(server, with_seed(prompt, 7)), reference)


@pytest.mark.parametrize("ending", ["finished", "cancelled"])
def test_free_leaves_no_model_behind(server: Server, prompt: Json, reference: np.ndarray, ending: str) -> None:
    if ending == "finished":
        picture(server, with_seed(prompt, 10))
    else:
        run_and_cancel(server, prompt)
    held = server.held_models()
    assert held["alive"].keys() >= NETWORKS
    assert held["loaded"], "the host's memory management does not know of our models"

    server.free()
    nothing = {"alive": {}, "loaded": []}
    deadline = time.monotonic() + 20
    while (held := server.held_models()) != nothing and time.monotonic() < deadline:
        time.sleep(0.5)
    assert held == nothing

    np.testing.assert_array_equal(picture(server, with_seed(prompt, 7)), reference)


@pytest.mark.parametrize(
    ("class_type", "name", "value"),
    [
        ("MGTLoadModel", "model", "no-such-model"),
        ("MGTEmptyTokens", "width", 63),
        ("MGTEmptyTokens", "height", 0),
        ("MGTEmptyTokens", "batch_size", 0),
        ("MGTMaskSchedule", "schedule", "zigzag"),
        ("MGTSample", "steps", -1),
        ("MGTSample", "cfg", -2.0),
        ("MGTSample", "cfg", "much"),
    ],
)
def test_a_bad_value_gets_one_clear_sentence(
    server: Server, prompt: Json, class_type: str, name: str, value: object
) -> None:
    """It names the input and what it held, whether the host finds it or the node does."""
    message = server.failure(changed(prompt, {class_type: {name: value}}))
    assert name in message, message
    assert str(value) in message, message
    assert "\n" not in message
    assert len(message) < 500


def test_a_wrong_link_is_refused_before_anything_runs(server: Server, prompt: Json) -> None:
    tokens = prompt[node_id(prompt, "MGTSample")]["inputs"]["tokens"]
    answer = server.submit(changed(prompt, {"MGTSample": {"model": tokens}}))
    (error,) = answer["node_errors"][node_id(prompt, "MGTSample")]["errors"]
    assert error["type"] == "return_type_mismatch"
    assert "MGT_TOKENS" in error["details"]
    assert "MGT_MODEL" in error["details"]
