"""Fused layers packed by parts: each ranked and treated by itself, under the names that checkpoints give."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import mgt_core
from bench.speed.bundle import FULL
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.errors import MGTError
from mgt_core.kernels.fused_linear import Apart, FusedLinear
from mgt_core.loading.networks import load_backbone
from mgt_core.quantization.calibration import Calibration, treatment_from
from mgt_core.quantization.formats import FORMATS
from mgt_core.quantization.layers import LayerSettings, Treatment, packed_layers
from mgt_core.quantization.observers import Watch
from mgt_core.quantization.quantize import apply, layers_of, treatments
from mgt_core.quantization.released import UNLISTED
from mgt_core.quantization.storage import WEIGHTS
from mgt_core.quantization.surgery import replaced
from support.device import DEVICE, HERE
from support.loras import low_rank_pairs
from support.quantized import pipe, quantized, tokens, with_model

QKV = ("to_q", "to_k", "to_v")
PATH = "single_transformer_blocks.0.attn"


def mixed(network, kinds=("float", "static", "dynamic"), path: str = PATH):
    """The network with one fused layer whose parts are treated in three ways."""
    fused = network.get_submodule(f"{path}.to_qkv")
    parts = FORMATS.get("asym_w4a8_int8").pack(fused, LayerSettings(16, 16)).parts()
    how = {"float": Treatment(), "static": Treatment("static", (0.02, 0.03)), "dynamic": Treatment("dynamic")}
    return replaced(network, {f"{path}.{n}": parts[n].treated(how[k]) for n, k in zip(QKV, kinds, strict=True)})


def test_other_networks_have_no_list():
    """Names of Meissonic's layers mean nothing in a network of another depth."""
    model = mgt_core.load("demo", **HERE).model
    layers = layers_of(model, mgt_core.W4A8())
    assert mgt_core.W4A8().ranked(layers) == list(layers)


@pytest.mark.parametrize("unranked, ranked, int8", [((), 373, 124), (("unlisted",), 358, 119)])
def test_ranking_counts_every_published_layer_of_meissonic(unranked, ranked, int8):
    """373 in all. The authors' own list holds 358 of them, as SCQ does by default, and takes a third of those."""
    with torch.device("meta"):
        network = MeissonicTransformer(MeissonicConfig.from_dict(FULL.transformer))
    scheme = mgt_core.W4A8(unranked=unranked)
    assert unranked == () or scheme == mgt_core.W4A8()
    layers = layers_of(mgt_core.MGTModel(network, pixels_per_token=16), scheme)
    assert len(layers) == 373 and len(scheme.ranked(layers)) == ranked
    assert {"transformer_blocks.13.attn.add_v_proj", "single_transformer_blocks.27.attn.to_q"} <= layers.keys()
    assert not any(name.endswith(("to_qkv", "add_qkv_proj")) for name in layers)
    assert {f"{name}.weight" for name in layers} <= network.state_dict().keys()
    assert set(UNLISTED) < layers.keys() and len(UNLISTED) == 15
    watches = {name: Watch() for name in layers}
    for place, watch in enumerate(watches.values()):
        watch.outputs.together = float(place * 37 % 373)
    how = treatments(watches, scheme)
    static = {name for name in layers if how[name].kind == "static"}
    assert len(static) == int8 and not (unranked and static & set(UNLISTED))
    rest = set(scheme.ranked(layers)) - static
    assert max(watches[n].outputs.together for n in static) < min(watches[n].outputs.together for n in rest)


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(1, 4),
    rows=st.integers(1, 20),
    width=st.sampled_from([4, 13, 16, 64]),
    kind=st.sampled_from(["asym_w4a8_int8", "int8_tensorwise", "float8_e4m3fn"]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_hold_what_the_whole_holds(count, rows, width, kind, bias, seed):
    torch.manual_seed(seed)
    names = [f"part{i}" for i in range(count)]
    fused = FusedLinear(names, width, rows, bias).to(DEVICE)
    whole = FORMATS.get(kind).pack(fused, LayerSettings(8, 4 if width % 4 == 0 else 1))
    parts = Apart(whole.parts())
    x = torch.randn(2, 3, width).to(DEVICE)
    with torch.no_grad():
        assert parts(x).shape == (2, 3, count * rows) and parts.names == tuple(names)
        torch.testing.assert_close(parts(x), whole(x), rtol=0, atol=1e-5)
        for name in names:
            assert torch.equal(parts._modules[name].weight_matrix(), whole.weight_matrix()[fused.rows(name)])
            torch.testing.assert_close(parts.product(name, x), whole.product(name, x), rtol=0, atol=1e-5)
    assert parts.in_features == width and parts.out_features == whole.out_features
    assert len({p.untyped_storage().data_ptr() for p in parts.parameters()}) == len(list(parts.parameters()))


def test_parts_of_different_kinds():
    network = mixed(pipe().model.network)
    layer = network.get_submodule(f"{PATH}.to_qkv")
    assert isinstance(layer, Apart) and type(pipe().model.network.get_submodule(f"{PATH}.to_qkv")) is FusedLinear
    assert [layer._modules[name].settings.activations for name in QKV] == ["float", "static", "dynamic"]
    x = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    with torch.no_grad():
        outputs = torch.cat([layer._modules[name](x) for name in QKV], dim=-1)
        assert torch.equal(layer(x), outputs)
    model = replace(pipe().model, network=network)
    tokens(with_model(model))


def test_lora_beside_parts_of_different_kinds():
    from mgt_core.adapters.attach import adapt
    from mgt_core.adapters.lora import LowRank

    network = mixed(pipe().model.network, ("float", "float", "float"))
    pairs = low_rank_pairs(pipe().model.network, targets=("to_k", "to_v"))
    lora = mgt_core.LoRA("a", {name: LowRank(*pair, 1.5) for name, pair in pairs.items()})
    adapted = adapt(network, lora, 1.0)[0].get_submodule(f"{PATH}.to_qkv")
    plain = network.get_submodule(f"{PATH}.to_qkv")
    x = torch.randn(2, 3, plain.in_features, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    down, up = (table.to(DEVICE) for table in pairs[f"{PATH}.to_v"])
    size = plain.out_features // 3
    torch.testing.assert_close(adapted(x)[..., :size], plain(x)[..., :size])
    torch.testing.assert_close(adapted(x)[..., 2 * size :], plain(x)[..., 2 * size :] + 1.5 * x @ down.T @ up.T)
    torch.testing.assert_close(adapted.product("to_v", x), plain.product("to_v", x) + 1.5 * x @ down.T @ up.T)


def test_self_guidance_over_parts_of_different_kinds():
    """What comes from above joins through the value projection alone."""
    model = replace(pipe().model, network=mixed(pipe().model.network))
    branch = mgt_core.fresh_branch(model.network, 0)
    plain = tokens(with_model(model.with_self_guidance(branch, 1.0)))
    assert plain.shape == (2, 4, 4)
    layer = model.network.get_submodule(f"{PATH}.to_qkv")
    x = torch.randn(2, 3, layer.in_features, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    assert torch.equal(layer.product("to_v", x), layer.to_v.times(x))


def test_files_hold_published_names(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "saved")
    with safe_open(folder / "transformer" / WEIGHTS, "pt") as file:
        names = set(file.keys())
        marked = json.loads(file.metadata()["_quantization_metadata"])["layers"]
    assert {f"{PATH}.{name}.comfy_quant" for name in QKV} | {f"{PATH}.{name}.weight" for name in QKV} <= names
    assert not any("to_qkv" in name for name in names) and not any("to_qkv" in name for name in marked)
    network = load_backbone(folder / "transformer", torch.float32, DEVICE)
    held, saved = packed_layers(network), packed_layers(quantized().model.network)
    assert list(held) == list(saved)
    assert all(held[name].treatment == layer.treatment for name, layer in saved.items())


def test_state_dicts_come_back():
    network = mixed(pipe().model.network)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data = torch.zeros_like(parameter)
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_a_kept_part_stays_float(tmp_path):
    scheme = mgt_core.W4A16(keep=("*.to_v",))
    done = quantized(scheme)
    layer = done.model.network.get_submodule(f"{PATH}.to_qkv")
    fused = pipe().model.network.get_submodule(f"{PATH}.to_qkv")
    assert isinstance(layer, Apart) and torch.equal(layer.to_v.weight, fused.weight[fused.rows("to_v")])
    loaded = mgt_core.load(mgt_core.save_bundle(with_model(done.model), tmp_path / "saved"), **HERE)
    assert torch.equal(tokens(loaded), tokens(with_model(done.model)))
    assert isinstance(loaded.model.network.get_submodule(f"{PATH}.to_qkv"), Apart)


def test_keep_by_the_name_of_the_fused_layer():
    names = {layer.name for layer in quantized(mgt_core.W4A16(keep=("*.to_qkv",))).report.layers}
    assert not any(name.endswith(QKV) for name in names)
    assert any(name.endswith("add_q_proj") for name in names)


def whole_model(scheme: mgt_core.Scheme, kind: Treatment) -> mgt_core.MGTModel:
    """Packed as this pack once did it: fused layers whole, one scale a layer."""
    network = pipe().model.network
    chosen = {
        name: scheme.pack(module).treated(kind)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith(network.unquantized)
    }
    return replace(pipe().model, network=replaced(network, chosen), quantization=scheme)


@pytest.mark.parametrize("kind", [Treatment(), Treatment("static", (0.05,)), Treatment("dynamic")])
def test_bundles_of_whole_layers_still_load(kind, tmp_path):
    old = whole_model(mgt_core.W4A8(), kind)
    folder = mgt_core.save_bundle(with_model(old), tmp_path / "old")
    loaded = mgt_core.load(folder, **HERE)
    assert f"{PATH}.to_qkv" in packed_layers(loaded.model.network)
    assert torch.equal(tokens(loaded), tokens(with_model(old)))


def test_calibrations_of_whole_layers_still_pack_the_same(tmp_path):
    old = whole_model(mgt_core.W4A8(), Treatment("static", (0.05,)))
    held = {name: ["static", 0.05] for name in packed_layers(old.network)}
    file = tmp_path / "calibration.w4a8.json"
    file.write_text(json.dumps({"scheme": "W4A8()", "layers": held}))
    new = apply(pipe().model, "w4a8", Calibration.load(file))
    assert f"{PATH}.to_q" in packed_layers(new.network)
    assert torch.equal(tokens(with_model(new)), tokens(with_model(old)))


def test_marks_whole_and_in_parts_contradict(tmp_path):
    from mgt_core.quantization.marks import with_marked_layers

    with torch.device("meta"):
        network = MeissonicTransformer(pipe().model.network.config)
    marks = {f"{PATH}.to_qkv": {"format": "int8_tensorwise"}, f"{PATH}.to_q": {"format": "int8_tensorwise"}}
    with pytest.raises(MGTError, match="whole"):
        with_marked_layers(network, marks, tmp_path)


def test_calibrations_come_back(tmp_path):
    file = tmp_path / "calibration.json"
    quantized().calibration.save(file)
    assert Calibration.load(file) == quantized().calibration
    model = apply(pipe().model, "w4a8", Calibration.load(file))
    assert torch.equal(tokens(with_model(model)), tokens(with_model(quantized().model)))


@pytest.mark.parametrize("held", [["static"], ["frozen", 1.0], {"kind": "static"}, {"kind": "float", "inputs": 3}, 7])
def test_layers_that_no_calibration_holds(held):
    with pytest.raises((KeyError, TypeError, ValueError)):
        treatment_from(held)
