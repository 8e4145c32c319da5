"""Layers are found by whatever trainers and wrappers make of their names, and files by all endings of their tensors."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import mgt_core
from mgt_core.adapters.names import READINGS, Places, is_of_text, readings_of
from mgt_core.adapters.spellings import REFUSED, Spelled, refused, spelled
from mgt_core.registry import BACKBONES
from support.bundles import amused_bundle, halton_bundle, openmuse_bundle
from support.device import HERE
from support.golden import bundles, pipeline
from support.loras import METHODS, linear_layers, logits, low_rank_pairs, random, save_kohya, save_parts, save_peft

FAMILIES = ("meissonic", "openmuse", "amused", "halton")


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    made = {"openmuse": openmuse_bundle, "amused": amused_bundle, "halton": halton_bundle}
    loaded = {name: mgt_core.load(build(folder / name), **HERE) for name, build in made.items()}
    return loaded | {"meissonic": pipeline(bundles()[0])}


def test_every_family_is_here():
    assert set(FAMILIES) == set(BACKBONES)


def published(network):
    """Every linear layer by the name that checkpoints have for it."""
    return {name.removeprefix("uvit."): size for name, size in linear_layers(network).items()}


# How files write the name of a layer.
WRITTEN = {
    "as it is": "{dotted}",
    "kohya": "lora_unet_{flat}",
    "OneTrainer": "lora_transformer_{flat}",
    "OneTrainer, with dots": "lora_transformer.{dotted}",
    "LyCORIS": "lycoris_{flat}",
    "no prefix": "{flat}",
    "a prefix for all": "lora_{flat}",
    "with a dot at its end, as an underscore": "lora_unet_{flat}_",
    "diffusers": "transformer.{dotted}",
    "diffusers, of a U-Net": "unet.{dotted}",
    "PEFT": "base_model.model.{dotted}",
    "ComfyUI": "diffusion_model.{dotted}",
    "a checkpoint's": "model.diffusion_model.{dotted}",
    "compiled": "_orig_mod.{dotted}",
    "compiled and flat": "lora_unet__orig_mod_{flat}",
    "parallel": "module.{dotted}",
    "several at once": "base_model.model.module._orig_mod.model.{dotted}",
    "several, flat": "lycoris_model_diffusion_model_{flat}",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WRITTEN)
def test_every_layer_of_every_family(families, family, way):
    network = families[family].model.network
    places = Places(network)
    assert len(published(network)) > 10
    for name, (_, height) in published(network).items():
        place = places.find(WRITTEN[way].format(dotted=name, flat=name.replace(".", "_")))
        assert place == places.exact[name]
        assert place.path in (name, f"uvit.{name}", place.path) and place.path in dict(network.named_modules())
        assert place.rows is None or place.rows.stop - place.rows.start == height


@pytest.mark.parametrize("family", FAMILIES)
def test_all_other_modules_with_weights(families, family):
    """Norms, convolutions and embeddings, too, but nothing twice."""
    network = families[family].model.network
    places = Places(network)
    for path, module in network.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            assert places.find(f"lora_unet_{path.replace('.', '_')}").path == path


@pytest.mark.parametrize("where", ["transformer_blocks.1.", "transformer_blocks.1.attn."])
@pytest.mark.parametrize("wrapper", ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"])
def test_wrappers_within(families, where, wrapper):
    places = Places(families["meissonic"].model.network)
    plain = "transformer_blocks.1.attn.to_k"
    wrapped = plain.replace(where, f"{where}{wrapper}.")
    assert places.find(wrapped) == places.find(plain) == places.find(f"lycoris_{wrapped.replace('.', '_')}")


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_transformer_", "lycoris_"])
@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_kohya_and_lycoris_do_what_dotted_ones_do(families, tmp_path, family, prefix):
    pipe = families[family]
    inner = [name for name in published(pipe.model.network) if not name.startswith("mlm_layer.")]
    pairs = low_rank_pairs(pipe.model.network, targets=tuple(inner[1:6]))
    pairs = {name.removeprefix("uvit."): pair for name, pair in pairs.items()}
    flat = {f"{prefix}{name.replace('.', '_')}": pair for name, pair in pairs.items()}
    expected = logits(pipe, pipe.model.with_lora(save_kohya(tmp_path / "dotted.safetensors", pairs, 2.0)))
    got = logits(pipe, pipe.model.with_lora(save_kohya(tmp_path / "flat.safetensors", flat, 2.0)))
    assert torch.equal(got, expected) and not torch.equal(got, logits(pipe))


def test_the_network_of_a_lora_has_the_same_names(families, tmp_path):
    pipe = families["meissonic"]
    pairs = low_rank_pairs(pipe.model.network)
    adapted = pipe.model.with_lora(save_kohya(tmp_path / "a.safetensors", pairs, 2.0))
    assert Places(adapted.network).exact == Places(pipe.model.network).exact


class Alike(nn.Module):
    """Two layers whose names differ by a dot."""

    uncalled = ()

    def __init__(self):
        super().__init__()
        self.attn_to = nn.ModuleDict({"q": nn.Linear(2, 2)})
        self.attn = nn.ModuleDict({"to_q": nn.Linear(2, 2), "to_k": nn.Linear(2, 2)})

    @staticmethod
    def renamed(name):
        return name


def test_two_layers_of_one_flat_name():
    places = Places(Alike())
    assert places.find("lora_unet_attn_to_k").path == "attn.to_k"
    assert places.find("transformer.attn_to.q").path == "attn_to.q"
    with pytest.raises(mgt_core.MGTError, match="lora_unet_attn_to_q may stand for attn_to.q, attn.to_q of this model"):
        places.find("lora_unet_attn_to_q")


@settings(deadline=None, max_examples=200)
@given(
    words=st.lists(st.sampled_from(["lora", "module", "model", "_orig_mod", "unet", "a", "attn_to"]), max_size=40),
    separators=st.randoms(use_true_random=False),
)
def test_readings_are_ends_of_a_name_and_few(words, separators):
    name = "".join(word + separators.choice("._") for word in words) + "q"
    bare = ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))
    found = readings_of(name)
    assert found[0] == name and len(found) <= READINGS + 8
    assert all(name.endswith(reading) or bare.endswith(reading) for reading in found)


# Endings


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
def test_endings(families, tmp_path, way, suffix, dims):
    """Also as convolutions of one cell, as which some trainers save all layers."""
    pipe = families["meissonic"]
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


def test_attention_processors_of_old_diffusers(families, tmp_path):
    pipe = families["amused"]
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
TEXT += ("base_model.model.text_model.x", "module.text_encoder.x", "bundle_emb.cat.x")


def test_parts_of_text_encoders_are_left_out_and_counted(families, tmp_path, caplog):
    pipe = families["meissonic"]
    pairs = low_rank_pairs(pipe.model.network)
    both = pairs | {name: (torch.ones(1, 2), torch.ones(2, 1)) for name in TEXT}
    adapted = pipe.model.with_lora(save_kohya(tmp_path / "both.safetensors", both, 2.0))
    assert f"{3 * len(TEXT)} tensors for a text encoder" in caplog.text
    expected = pipe.model.with_lora(save_kohya(tmp_path / "one.safetensors", pairs, 2.0))
    assert torch.equal(logits(pipe, adapted), logits(pipe, expected))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_is_taken_for_a_text_encoder(families, family):
    for name in published(families[family].model.network):
        assert not is_of_text(name) and not is_of_text(f"lora_unet_{name.replace('.', '_')}")


def test_a_text_encoder_alone(families, tmp_path):
    file = save_kohya(tmp_path / "a.safetensors", {"lora_te1_x": (torch.ones(1, 2), torch.ones(2, 1))}, 1)
    with pytest.raises(mgt_core.MGTError, match="a.safetensors holds no LoRA for a transformer"):
        families["meissonic"].model.with_lora(file)


# Notes in headers, and settings


@pytest.mark.parametrize(
    "notes",
    [
        {"ss_network_alpha": "64.0", "ss_network_dim": "32", "ss_network_module": "lycoris.kohya"},
        {"ss_network_args": '{"algo": "lokr", "dora_wd": "True"}', "ss_network_alpha": "None"},
        {"use_dora": "False", "use_rslora": "false", "modelspec.architecture": "meissonic/lora"},
        {"alpha": "3", "lora_adapter_metadata": '{"transformer.r": 2, "text_encoder.lora_alpha": 7}'},
    ],
)
def test_notes_in_headers_change_nothing(tmp_path, notes):
    parts = {"x.y": {"lora_down.weight": random(2, 3), "lora_up.weight": random(4, 2), "alpha": torch.tensor(3.0)}}
    assert mgt_core.LoRA.load(save_parts(tmp_path / "a.safetensors", parts, **notes)).updates["x.y"].scale == 1.5
    del parts["x.y"]["alpha"]
    assert mgt_core.LoRA.load(save_parts(tmp_path / "b.safetensors", parts, **notes)).updates["x.y"].scale == 1.0


@pytest.mark.parametrize("before", ["transformer.", "unet.", ""])
def test_diffusers_notes_say_the_scale(tmp_path, before):
    parts = {"x.y": {"lora_down.weight": random(2, 3), "lora_up.weight": random(4, 2)}}
    notes = {f"{before}lora_alpha": 4, f"{before}alpha_pattern": {"y": 6}, f"{before}use_rslora": True}
    file = save_parts(tmp_path / "a.safetensors", parts, lora_adapter_metadata=json.dumps(notes))
    assert mgt_core.LoRA.load(file).updates["x.y"].scale == pytest.approx(6 / 2**0.5)


@pytest.mark.parametrize("start", ["pissa", "PiSSA_niter_16", "olora", "corda", "loftq"])
def test_a_lora_of_other_weights_is_refused(families, tmp_path, start):
    """Its pair of matrices presumes weights that its beginning has changed."""
    pairs = low_rank_pairs(families["meissonic"].model.network)
    file = save_peft(tmp_path, pairs, 8.0, init_lora_weights=start)
    with pytest.raises(mgt_core.MGTError, match=f"adapter_model.safetensors was begun by {start.lower()}, which"):
        mgt_core.LoRA.load(file)
    for plain in (True, False, "gaussian", "eva", None):
        assert mgt_core.LoRA.load(save_peft(tmp_path, pairs, 8.0, init_lora_weights=plain)).updates


# What is refused


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
def test_files_that_do_not_fit_get_one_sentence(families, tmp_path, case):
    layers, sentence = BAD[case]
    file = save_parts(tmp_path / "a.safetensors", layers)
    with pytest.raises(mgt_core.MGTError, match=sentence) as error:
        families["meissonic"].model.with_lora(file, 0.0)
    assert "\n" not in str(error.value) and len(str(error.value)) < 480


def test_settings_of_a_dora_without_magnitudes(families, tmp_path):
    file = save_peft(tmp_path, low_rank_pairs(families["meissonic"].model.network), 8.0, use_dora=True)
    with pytest.raises(mgt_core.MGTError, match="is a DoRA by its settings, and holds no magnitudes"):
        mgt_core.LoRA.load(file)


@pytest.mark.parametrize("method", ["DoRA of PEFT", "LoKr, whole", "IA3 of PEFT, inputs", "GLoRA", "difference"])
def test_updates_beyond_what_weights_can_be(families, tmp_path, method):
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
        families["meissonic"].model.with_lora(file, 100.0)


def test_rows_of_nothing_are_left_alone(families, tmp_path):
    """A DoRA of a row that is all zeros: no norm to divide by."""
    pipe = families["meissonic"]
    weight = pipe.model.network.state_dict()[f"{Q}.weight"].cpu()
    parts = {"diff": -weight, "dora_scale": torch.ones(48, 1)}
    file = save_parts(tmp_path / "a.safetensors", {Q: parts})
    adapted = pipe.model.with_lora(file)
    expected = pipe.model.with_lora(save_parts(tmp_path / "b.safetensors", {Q: {"diff": -weight}}))
    torch.testing.assert_close(logits(pipe, adapted), logits(pipe, expected), rtol=0, atol=1e-4)
