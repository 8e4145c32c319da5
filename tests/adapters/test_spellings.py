"""What the tensors of files are called: endings of all trainers, text encoders, methods that are not applied."""

import pytest
import torch
from safetensors.torch import save_file

import mgt_core
from mgt_core.adapters.names import is_of_text
from mgt_core.adapters.spellings import REFUSED, Spelled, refused, spelled
from support.bundles import amused_bundle
from support.device import HERE
from support.golden import bundles, pipeline
from support.loras import linear_layers, logits, low_rank_pairs, random, save_kohya


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


ENDINGS = {
    "kohya's": ("{layer}.lora_down.weight", "{layer}.lora_up.weight"),
    "PEFT's": ("{layer}.lora_A.weight", "{layer}.lora_B.weight"),
    "PEFT's with the adapter's name": ("{layer}.lora_A.default.weight", "{layer}.lora_B.default.weight"),
    "PEFT's as plain parameters": ("{layer}.lora_A", "{layer}.lora_B"),
    "diffusers' of old": ("unet.{layer}.lora.down.weight", "unet.{layer}.lora.up.weight"),
    "diffusers' of layers": ("{layer}.lora_linear_layer.down.weight", "{layer}.lora_linear_layer.up.weight"),
}


@pytest.mark.parametrize("dims", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("way", ENDINGS)
def test_endings(pipe, tmp_path, way, suffix, dims):
    """Also as convolutions of one cell, as which some trainers save all layers."""
    pairs = low_rank_pairs(pipe.model.network)
    tensors = {
        ending.format(layer=layer): matrix.reshape(*matrix.shape, *[1] * (dims - 2))
        for layer, pair in pairs.items()
        for ending, matrix in zip(ENDINGS[way], pair, strict=True)
    }
    file = tmp_path / f"a{suffix}"
    save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    expected = pipe.model.with_lora(save_kohya(tmp_path / "plain.safetensors", pairs, 2.0))
    assert torch.equal(logits(pipe, pipe.model.with_lora(file)), logits(pipe, expected))


def test_attention_processors_of_old_diffusers(pipe, tmp_path):
    pipe = mgt_core.load(amused_bundle(tmp_path / "amused"), **HERE)
    block = "transformer_layers.0.attn1"
    leaves = {"to_q": "to_q", "to_v": "to_v", "to_out": "to_out.0"}
    pairs = {leaf: (random(2, 32), random(32, 2, seed=len(leaf))) for leaf in leaves}
    old = {
        f"unet.{block}.processor.{leaf}_lora.{side}.weight": matrix
        for leaf, pair in pairs.items()
        for side, matrix in zip(("down", "up"), pair, strict=True)
    }
    save_file(old, tmp_path / "old.safetensors")
    new = save_kohya(
        tmp_path / "new.safetensors", {f"{block}.{leaves[leaf]}": pair for leaf, pair in pairs.items()}, 2.0
    )
    got = logits(pipe, pipe.model.with_lora(tmp_path / "old.safetensors"))
    assert torch.equal(got, logits(pipe, pipe.model.with_lora(new))) and not torch.equal(got, logits(pipe))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.lora_A.weight", Spelled("a.b", "down")),
        ("a.b.lora_A.my_style.weight", Spelled("a.b", "down")),
        ("a.b.lora_A.alpha.weight", Spelled("a.b", "down")),  # an adapter of that name
        ("a.b.lora_magnitude_vector.default.weight", Spelled("a.b", "magnitude")),
        ("a.b.lora_magnitude_vector", Spelled("a.b", "magnitude")),
        ("a.b.hada_w1_a.default", Spelled("a.b", "hada_w1_a")),
        ("a.attn.processor.to_out_lora.up.weight", Spelled("a.attn.to_out.0", "up")),
        ("lora_A.weight", Spelled("lora_A", "weight")),  # of no layer
        ("a.b.alpha", Spelled("a.b", "alpha")),
        ("a.b.base_layer.bias", Spelled("a.b", "bias")),
        ("a.b.lora_A.bias", Spelled("a.b.lora_A", "bias")),
        ("alpha", None),
        ("weight", None),
        ("a.b.oft_blocks", None),
        ("a." * 600 + "lora_A.weight", None),
    ],
)
def test_spelled(name, expected):
    assert spelled(name) == expected


# Text encoders


TEXT = (
    "lora_te_x",
    "lora_te1_x",
    "lora_te2_x",
    "lora_te.x",
    "text_encoder.x",
    "text_encoder_2.x",
    "text_encoders.t5.x",
)
TEXT += ("base_model.model.text_model.x", "module.text_encoder.y", "bundle_emb.cat.x")
TEXT += ("te.text_model.x", "lora_clip_l_text_model_x", "conditioner.embedders.0.transformer.text_model.x")


def test_parts_of_text_encoders_are_left_out_and_counted(pipe, tmp_path, caplog):
    pairs = low_rank_pairs(pipe.model.network)
    both = pairs | {name: (torch.ones(1, 2), torch.ones(2, 1)) for name in TEXT}
    adapted = pipe.model.with_lora(save_kohya(tmp_path / "both.safetensors", both, 2.0))
    assert f"{3 * len(TEXT)} tensors for a text encoder" in caplog.text
    expected = pipe.model.with_lora(save_kohya(tmp_path / "one.safetensors", pairs, 2.0))
    assert torch.equal(logits(pipe, adapted), logits(pipe, expected))


def test_no_layer_is_taken_for_a_text_encoder(pipe):
    for name in linear_layers(pipe.model.network):
        assert not is_of_text(name) and not is_of_text(f"lora_unet_{name.replace('.', '_')}")


def test_a_text_encoder_alone(pipe, tmp_path):
    file = save_kohya(tmp_path / "a.safetensors", {"lora_te1_x": (torch.ones(1, 2), torch.ones(2, 1))}, 1)
    with pytest.raises(mgt_core.MGTError, match="a.safetensors holds no LoRA for a transformer"):
        pipe.model.with_lora(file)


# Methods that are not applied


@pytest.mark.parametrize("start", REFUSED)
def test_methods_that_are_not_applied_are_named(tmp_path, start):
    what = REFUSED[start]
    for name in (f"lora_unet_x_y.{start}a", f"base_model.model.x.y.{start}a.default.weight"):
        assert refused(name) == what
        save_file({name: torch.ones(2, 2), "x.alpha": torch.ones(())}, tmp_path / "a.safetensors")
        with pytest.raises(mgt_core.MGTError) as error:
            mgt_core.LoRA.load(tmp_path / "a.safetensors")
        assert f"a.safetensors is {what}, which this pack does not apply, by {name}; accepted are LoRA" in str(
            error.value
        )
