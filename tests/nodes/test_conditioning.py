"""Conditioning as ComfyUI has it, read and refused."""

import sys

import pytest
import torch

import mgt_core
from support.node_runs import run
from support.pack import ALIAS

conditioning = sys.modules[f"{ALIAS}.nodes.conditioning"]


def test_text_encode_gives_comfyui_conditioning(loaded):
    ((hidden, extra),) = run("MGTTextEncode", text="a red heart", text_encoder=loaded[1])[0]
    expected = loaded[1].encode(["a red heart"])
    assert hidden.dtype == extra["pooled_output"].dtype == torch.float32
    assert torch.equal(hidden, expected.hidden)
    assert torch.equal(extra["pooled_output"], expected.pooled)


def test_micro_conditions(graph):
    given = graph["positive"]
    changed = run("MGTMicroConditions", conditioning=given, height=100, crop_left=7, aesthetic_score=5.5)[0]
    micro = conditioning.condition_from(changed, "positive", (32, 48), 8).micro
    assert micro.tolist() == [[48, 100, 0, 7, 5.5]]
    assert "mgt_micro" not in given[0][1]
    assert changed[0][0] is given[0][0]
    again = run("MGTMicroConditions", conditioning=changed)[0]
    assert conditioning.condition_from(again, "positive", (32, 48), 8).micro.tolist() == [[48, 32, 0, 0, 6]]


def test_default_micro_conditions_change_nothing_and_others_do(graph):
    plain = run("MGTSample", **graph)[0].tokens
    same = run("MGTMicroConditions", conditioning=graph["positive"])[0]
    other = run("MGTMicroConditions", conditioning=graph["positive"], aesthetic_score=0.0, width=4000)[0]
    assert torch.equal(run("MGTSample", **{**graph, "positive": same})[0].tokens, plain)
    condition = [conditioning.condition_from(c, "positive", (32, 32), 8) for c in (same, other)]
    time = torch.tensor([1.0])
    first, second = (graph["model"].logits(graph["tokens"].tokens[:1], c, time) for c in condition)
    assert not torch.equal(first, second)


def test_prompts_of_a_batch(loaded, graph):
    """One entry may hold a prompt for each image."""
    encoded = loaded[1].encode(["a red heart", "a blue fish"])
    positive = [[encoded.hidden, {"pooled_output": encoded.pooled}]]
    assert not run("MGTSample", **{**graph, "positive": positive})[0].masked.any()


BAD_CONDITIONING = {
    "nothing": (lambda c: [], "positive conditioning is empty"),
    "no tensor": (lambda c: [[None, {}]], "holds nothing"),
    "flat": (lambda c: [[c[0][0][0], c[0][1]]], "expected the encoded text"),
    "no pooled": (lambda c: [[c[0][0], {}]], "lacks pooled"),
    "wide hidden": (lambda c: [[torch.cat([c[0][0]] * 2, -1), c[0][1]]], "made for another model"),
    "wide pooled": (lambda c: [[c[0][0], {"pooled_output": torch.zeros(1, 3)}]], "made for another model"),
    "three prompts": (
        lambda c: [[c[0][0].expand(3, -1, -1), {"pooled_output": c[0][1]["pooled_output"].expand(3, -1)}]],
        "3 prompts for 2 images",
    ),
    "control": (lambda c: [[c[0][0], {**c[0][1], "control": object()}]], "carries control"),
    "hooks": (lambda c: [[c[0][0], {**c[0][1], "hooks": 1, "gligen": ("position",)}]], "carries gligen, hooks"),
    "a volume": (lambda c: [[c[0][0], {**c[0][1], "area": (1, 1, 1, 0, 0, 0)}]], "area of 3 dimensions"),
    "range the wrong way round": (
        lambda c: [[c[0][0], {**c[0][1], "start_percent": 0.5, "end_percent": 0.25}]],
        "starts at 0.5 and ends at 0.25",
    ),
    "nowhere": (lambda c: [[c[0][0], {**c[0][1], "strength": -1.0}]], "condition weight is -1.0"),
}


@pytest.mark.parametrize("case", BAD_CONDITIONING)
def test_conditioning_of_no_use_is_refused_in_one_sentence(graph, case):
    change, words = BAD_CONDITIONING[case]
    with pytest.raises(mgt_core.MGTError, match=words) as error:
        run("MGTSample", **{**graph, "positive": change(graph["positive"])})
    assert "\n" not in str(error.value)


def test_settings_that_change_nothing_are_accepted(graph):
    hidden, extra = graph["positive"][0]
    neutral = [[hidden, {**extra, "start_percent": 0.0, "end_percent": 1.0, "strength": 1.0}]]
    assert not run("MGTSample", **{**graph, "positive": neutral})[0].masked.any()
