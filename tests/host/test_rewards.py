"""MGT Reward from Graph on a real ComfyUI: its nodes and others' are worked for each candidate, by the host's rules."""

from __future__ import annotations

import pytest

from support.comfy_host import Json, Server


def graph(score: list, /, **nodes: tuple[str, Json]) -> Json:
    """Four candidates of two colours, whose scores are shown. score: the link to the number."""
    given = {
        "candidate": ("MGTCandidatePicture", {}),
        "reward": ("MGTRewardFromGraph", {"score": score}),
        "white": ("EmptyImage", {"width": 32, "height": 16, "batch_size": 1, "color": 0xFFFFFF}),
        "red": ("EmptyImage", {"width": 32, "height": 16, "batch_size": 1, "color": 0xFF0000}),
        "both": ("ImageBatch", {"image1": ["white", 0], "image2": ["red", 0]}),
        "shown": ("ProbeScore", {"reward": ["reward", 0], "images": ["both", 0]}),
        **nodes,
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in given.items()}


def scores(server: Server, prompt: Json) -> list[float]:
    run = server.run(prompt)
    assert run.outcome == "execution_success", run.details
    outputs = server.json(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
    return [float(text) for text in outputs["shown"]["text"]]


def measured(factor: float, times: float = 1.0) -> Json:
    """Brightness of what stands beside darker grey; how dark is counted by a node of a test, outside the candidates."""
    return graph(
        ["measured", 0],
        factor=("ProbeCount", {"value": factor}),
        blended=(
            "ImageBlend",
            {"image1": ["candidate", 0], "image2": ["black", 0], "blend_factor": ["factor", 0], "blend_mode": "normal"},
        ),
        black=("EmptyImage", {"width": 32, "height": 16, "batch_size": 1, "color": 0}),
        measured=("MGTPictureStatistics", {"image": ["blended", 0]}),
        weighed=("MGTRewardSum", {"reward_1": ["reward", 0], "weight_1": times}),
        shown=("ProbeScore", {"reward": ["weighed", 0], "images": ["both", 0]}),
    )


def test_a_number_of_each_candidate_and_changes_above_it(server: Server) -> None:
    """The host's own nodes, V1 and V3; what hangs on no candidate is worked once, and once more when it changes."""
    before = server.json("/mgt_count")["calls"]
    assert scores(server, measured(0.25)) == pytest.approx([0.75, 0.75 * 0.2126], abs=1e-4)
    assert server.json("/mgt_count")["calls"] == before + 1
    assert scores(server, measured(0.25, 2.0)) == pytest.approx([1.5, 1.5 * 0.2126], abs=1e-4)
    assert server.json("/mgt_count")["calls"] == before + 1, "the host has its result still"
    assert scores(server, measured(0.5)) == pytest.approx([0.5, 0.5 * 0.2126], abs=1e-4)
    assert server.json("/mgt_count")["calls"] == before + 2


def test_a_whole_number_of_the_hosts_own_node(server: Server) -> None:
    assert scores(server, graph(["size", 0], size=("GetImageSize", {"image": ["candidate", 0]}))) == [32, 32]


def test_settings_between_the_candidate_and_the_number_count(server: Server) -> None:
    for height, wanted in ((8, 8), (24, 24)):
        settings = {"upscale_method": "bilinear", "width": 40, "height": height, "crop": "disabled"}
        prompt = graph(
            ["size", 1],
            scaled=("ImageScale", {"image": ["candidate", 0], **settings}),
            size=("GetImageSize", {"image": ["scaled", 0]}),
        )
        assert scores(server, prompt) == [wanted, wanted]


def test_a_fault_names_its_node(server: Server) -> None:
    mask = ("ImageToMask", {"image": ["candidate", 0], "channel": "alpha"})
    statistics = ("MGTPictureStatistics", {"image": ["candidate", 0], "mask": ["mask", 0]})
    run = server.run(graph(["score", 0], mask=mask, score=statistics))
    assert run.outcome == "execution_error"
    told = run.details["exception_message"]
    assert "the graph of the reward failed in node mask" in told, told


def test_a_candidate_that_leads_elsewhere_says_so(server: Server) -> None:
    prompt = graph(["size", 0], size=("GetImageSize", {"image": ["candidate", 0]}))
    prompt["preview"] = {"class_type": "PreviewImage", "inputs": {"images": ["candidate", 0]}}
    run = server.run(prompt)
    assert run.outcome == "execution_error" and "only while a sampler tries some" in run.details["exception_message"]
    prompt["candidate"]["inputs"]["example"] = ["red", 0]
    assert server.run(prompt).outcome == "execution_success"


def test_nodes_whose_inputs_grow(server: Server) -> None:
    if "ComfyMathExpression" not in server.object_info():
        pytest.skip("this ComfyUI has no such node yet")
    inputs = {"expression": "2 * a - b", "values.a": ["measured", 0], "values.b": ["measured", 2]}
    prompt = graph(
        ["sum", 0],
        measured=("MGTPictureStatistics", {"image": ["candidate", 0]}),
        sum=("ComfyMathExpression", inputs),
    )
    assert scores(server, prompt) == pytest.approx([2, 2 * 0.2126 - 1], abs=1e-4)
