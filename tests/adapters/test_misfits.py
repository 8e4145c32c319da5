"""Files that hold half of something, two of it, or what fits no layer of the model: one sentence each."""

import pytest
import torch

import mgt_core
from support.golden import bundles, pipeline
from support.loras import METHODS, logits, random, save_parts


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


def parts_of(method, **changed):
    parts = METHODS[method](48, 48)[0] | changed
    return {"x.to_q": {name: value for name, value in parts.items() if value is not None}}


Q = "transformer_blocks.0.attn.to_q"
BAD = {
    "two adapters": (
        {"x.to_q": {"lora_A.a.weight": random(2, 3), "lora_A.b.weight": random(2, 3), "lora_B.a.weight": random(3, 2)}},
        "two tensors that say the same of x.to_q: x.to_q.lora_A.a.weight and x.to_q.lora_A.b.weight; save one adapter",
    ),
    "two methods": (
        {"x.to_q": METHODS["LoRA"](8, 8)[0] | METHODS["LoHa, kept whole"](8, 8)[0]},
        "holds LoRA and LoHa at once for x.to_q",
    ),
    "one layer by two names": (
        {Q: METHODS["LoRA"](48, 48)[0], f"lora_unet_{Q.replace('.', '_')}": METHODS["LoRA"](48, 48)[0]},
        f"has two updates of one layer: lora_unet_transformer_blocks_0_attn_to_q and {Q}",
    ),
    "a LoHa without a part": (parts_of("LoHa, kept whole", hada_w2_b=None), "holds x.to_q without its hada_w2_b"),
    "a LoHa of two sizes": (
        parts_of("LoHa, kept whole", hada_w2_b=random(7, 5)),
        "matrices of .48, 48. and .48, 5. for x.to_q; expected two of one size",
    ),
    "a LoHa of two ranks": (parts_of("LoHa, kept whole", hada_w2_b=random(5, 48)), "expected .n, r. and .r, k."),
    "half a LoKr": (parts_of("LoKr, both apart", lokr_w2_b=None), "holds x.to_q without its lokr_w2_b"),
    "a LoKr of another size": (
        {Q: METHODS["LoKr, whole"](48, 96)[0]},
        "as 96 -> 48, and this model has 48 -> 48 there",
    ),
    "magnitudes of another size": (
        parts_of("DoRA of PEFT", lora_magnitude_vector=random(47)),
        "lora_magnitude_vector|holds magnitude of .47. for x.to_q; expected one for each of its 48 outputs",
    ),
    "magnitudes in a row, of outputs that are no inputs": (
        {"x.to_q": METHODS["LoRA"](6, 4)[0] | {"dora_scale": random(1, 3)}},
        "dora_scale of .1, 3. for x.to_q; expected one for each of its 6 outputs, or, as .1, in., for each of its 4",
    ),
    "magnitudes of half the inputs": (
        {Q: METHODS["LoRA"](48, 48)[0] | {"dora_scale": random(1, 24)}},
        "dora_scale of .1, 24. for .*; expected one for each of its 48 outputs",
    ),
    "magnitudes NaN": (parts_of("DoRA of PEFT", lora_magnitude_vector=torch.full((48,), torch.nan)), "not finite"),
    "magnitudes of whole numbers": (
        parts_of("DoRA of PEFT", lora_magnitude_vector=torch.ones(48, dtype=torch.int8)),
        "torch.int8 .48. for x.to_q; expected floating-point numbers",
    ),
    "magnitudes of a difference's factors": (
        {"x.to_q": {"ia3_l": random(48, 1), "dora_scale": random(48, 1)}},
        "holds dora_scale",
    ),
    "a GLoRA of odd sizes": (
        parts_of("GLoRA", **{"a1.weight": random(47, 3)}),
        "matrices of .47, 48. and .48, 48. for x.to_q; expected .in, in. and .out, in.",
    ),
    "factors of one dimension": ({"x.to_q": {"ia3_l": random(48)}}, "expected .out, 1. or .1, in."),
    "factors and no more": ({"x.to_q": {"on_input": torch.ones(1)}}, "holds x.to_q without its weight"),
    "factors of no side": (
        {"x.to_q": {"weight": random(48), "on_input": torch.ones(2)}},
        "on_input of .2. for x.to_q; expected one number",
    ),
    "factors of another size": ({Q: {"ia3_l": random(1, 47)}}, "as 47 -> 48, and this model has 48 -> 48"),
    "two biases": (
        {"x.to_q": METHODS["LoRA"](8, 8)[0] | {"diff_b": random(8), "bias": random(8)}},
        "holds 2 biases for x.to_q; expected one",
    ),
    "a bias of another size": ({Q: {"diff_b": random(47)}}, "as 48 -> 47, and this model has 48 -> 48"),
    "a bias of a convolution without one": (
        {"embed.conv": {"diff_b": random(48)}},
        "embed.conv as its bias, and .* none",
    ),
    "whole weights": (
        {"x.to_q": METHODS["LoRA"](8, 8)[0], "y": {"weight": random(8, 8)}},
        "no LoRA of linear layers: y",
    ),
    "a convolution for a linear layer": (
        {Q: {"lora_down.weight": random(2, 48, 3, 3), "lora_up.weight": random(48, 2, 1, 1)}},
        "as 432 -> 48, and this model has 48 -> 48 there",
    ),
    "a kernel that has as many numbers": (
        {Q: {"lora_down.weight": random(2, 12, 2, 2), "lora_up.weight": random(48, 2, 1, 1)}},
        "as a convolution of 2 x 2, and this model has no such one there",
    ),
    "a difference without a number": (
        {"x.to_q": {"diff": torch.ones(0, 3)}},
        "expected floating-point numbers, one or",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_do_not_fit_get_one_sentence(pipe, tmp_path, case):
    layers, sentence = BAD[case]
    file = save_parts(tmp_path / "a.safetensors", layers)
    with pytest.raises(mgt_core.MGTError, match=sentence) as error:
        pipe.model.with_lora(file, 0.0)
    assert "\n" not in str(error.value) and len(str(error.value)) < 480


@pytest.mark.parametrize("method", ["DoRA of PEFT", "LoKr, whole", "IA3 of PEFT, inputs", "GLoRA", "difference"])
def test_updates_beyond_what_weights_can_be(pipe, tmp_path, method):
    parts = {
        name: value * 1e37 if value.is_floating_point() else value for name, value in METHODS[method](48, 48)[0].items()
    }
    parts["alpha"] = torch.tensor(4.0)
    parts = (
        parts
        if method not in ("IA3 of PEFT, inputs", "difference")
        else {n: v for n, v in parts.items() if n != "alpha"}
    )
    file = save_parts(tmp_path / "a.safetensors", {Q: parts})
    with pytest.raises(mgt_core.MGTError, match="changes weights of .* which is more than torch.float32 holds"):
        pipe.model.with_lora(file, 100.0)


def test_rows_of_nothing_are_left_alone(pipe, tmp_path):
    """A DoRA of a row that is all zeros: no norm to divide by."""
    weight = pipe.model.network.state_dict()[f"{Q}.weight"].cpu()
    parts = {"diff": -weight, "dora_scale": torch.ones(48, 1)}
    file = save_parts(tmp_path / "a.safetensors", {Q: parts})
    adapted = pipe.model.with_lora(file)
    expected = pipe.model.with_lora(save_parts(tmp_path / "b.safetensors", {Q: {"diff": -weight}}))
    torch.testing.assert_close(logits(pipe, adapted), logits(pipe, expected), rtol=0, atol=1e-4)
