"""Every method is its dense formula, beside layers, over packed ones, and in copies of what is no linear layer."""

import json

import pytest
import torch
from torch import nn

import mgt_core
from mgt_core.adapters.attach import adapt, grafted
from mgt_core.adapters.kinds import KINDS
from mgt_core.kernels.fused_linear import published_modules
from support.bundles import amused_bundle, halton_bundle, openmuse_bundle
from support.device import DEVICE, HERE
from support.golden import bundles, pipeline
from support.loras import (
    METHODS,
    TARGETS,
    difference,
    dora,
    linear_layers,
    logits,
    lokr,
    lora,
    random,
    rewritten,
    save_parts,
)

NEAR = {"rtol": 0, "atol": 1e-3}


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


def made(network, method, targets=TARGETS):
    """Parts and formulas of the layers whose names end in `targets`."""
    sizes = {name: size for name, size in linear_layers(network).items() if name.endswith(targets)}
    both = {name: METHODS[method](out, width) for name, (width, out) in sizes.items()}
    return {name: parts for name, (parts, _) in both.items()}, {
        f"{n}.weight": formula for n, (_, formula) in both.items()
    }


@pytest.mark.parametrize("strength", [1.0, -0.5])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_its_formula(pipe, tmp_path, method, strength):
    parts, formulas = made(pipe.model.network, method)
    file = save_parts(tmp_path / "style.safetensors", parts)
    expected = logits(pipe, rewritten(pipe.model, formulas, strength))
    assert (expected - logits(pipe)).abs().max() > 0.05
    torch.testing.assert_close(logits(pipe, pipe.model.with_lora(file, strength)), expected, **NEAR)
    assert pipe.model.with_lora(file, 0) is pipe.model


def test_all_methods_have_a_formula_here():
    words = " ".join(METHODS)
    assert all(word in words for word in ("LoRA", "DoRA", "LoHa", "LoKr", "GLoRA", "IA3", "difference"))
    assert {entry.name for entry in KINDS} == {"LoRA", "LoHa", "LoKr", "GLoRA", "(IA)^3", "whole difference"}


@pytest.mark.parametrize("scheme", ["w4a16", "w8a16", "fp8"])
@pytest.mark.parametrize(
    "method", ["LoKr, both apart", "DoRA of PEFT", "DoRA of LyCORIS, inputs", "GLoRA", "IA3 of PEFT, inputs"]
)
def test_over_packed_weights(pipe, tmp_path, method, scheme):
    """What a method asks of the layer's weights is asked of the packed ones."""
    small = mgt_core.quantize_pipeline(pipe, scheme).model
    parts, formulas = made(pipe.model.network, method)
    expected = small.network
    modules = [(path, *named) for (path, _), named in zip(expected.named_modules(), published_modules(expected))]
    for path, full, layer in modules:
        if hasattr(layer, "weight_matrix"):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            weight = layer.weight_matrix().cpu()
            if formula := formulas.get(f"{full}.weight"):
                weight = formula(weight)
            plain.weight, plain.bias = nn.Parameter(weight.to(DEVICE), requires_grad=False), layer.bias
            expected = grafted(expected, {path: plain})
    adapted = small.with_lora(save_parts(tmp_path / "a.safetensors", parts))
    torch.testing.assert_close(
        logits(pipe, adapted), logits(pipe, mgt_core.MGTModel(expected, small.pixels_per_token)), **NEAR
    )
    assert (logits(pipe, adapted) - logits(pipe, small)).abs().max() > 0.05


def test_any_order_is_the_sum(pipe, tmp_path):
    """What is asked of a layer is asked of it as it was, whatever stands beside it already."""
    files, more = {}, 0
    for method in ("DoRA of PEFT", "LoKr, whole", "GLoRA", "IA3 of LyCORIS, inputs"):
        parts, formulas = made(pipe.model.network, method)
        files[method] = save_parts(tmp_path / f"{len(files)}.safetensors", parts)
        network = rewritten(pipe.model, formulas, 0.5).network.state_dict()
        more = {name: value - pipe.model.network.state_dict()[name] + (more[name] if more else 0)
                for name, value in network.items()}  # fmt: skip
    expected = logits(
        pipe, rewritten(pipe.model, {n: (lambda w, v=v: w + v.cpu().reshape(w.shape)) for n, v in more.items()})
    )
    for order in (list(files), list(files)[::-1]):
        model = pipe.model
        for method in order:
            model = model.with_lora(files[method], 0.5)
        torch.testing.assert_close(logits(pipe, model), expected, **NEAR)
    layer = model.network.get_submodule("transformer_blocks.0.attn.to_qkv")
    assert layer.layer is pipe.model.network.get_submodule("transformer_blocks.0.attn.to_qkv")
    assert len(layer.adapters) == 4 * 3


@pytest.mark.parametrize("method", ["DoRA of PEFT", "DoRA of LyCORIS, inputs", "GLoRA", "IA3 of PEFT, inputs"])
@pytest.mark.parametrize("scheme", ["none", "w8a16"])
def test_a_fused_layer_alone(pipe, tmp_path, method, scheme):
    """What Self-Guidance asks of the projections: the product of one of them, without its bias."""
    network = mgt_core.quantize_pipeline(pipe, scheme).model.network
    parts, _ = made(pipe.model.network, method, ("to_k", "to_v"))
    name = "single_transformer_blocks.0.attn"
    parts = {layer: held for layer, held in parts.items() if layer.startswith(name)}
    parts[f"{name}.to_q"] = {"diff_b": random(48)}
    loaded = mgt_core.LoRA.load(save_parts(tmp_path / "a.safetensors", parts))
    adapted = adapt(network, loaded, 1.0)[0].get_submodule(f"{name}.to_qkv")
    x = random(2, 3, 48).to(DEVICE)
    for place, part in enumerate(adapted.names):
        expected = (adapted(x) - adapted(torch.zeros_like(x)))[..., place * 48 : (place + 1) * 48]
        torch.testing.assert_close(adapted.product(part, x), expected, rtol=0, atol=1e-4)


def test_one_update_of_a_whole_fused_layer(pipe, tmp_path):
    """As trainers have it that fuse the projections themselves."""
    parts, formula = METHODS["DoRA of PEFT"](144, 48)
    file = save_parts(tmp_path / "a.safetensors", {"transformer_blocks.0.attn.to_qkv": parts})
    layer = pipe.model.network.get_submodule("transformer_blocks.0.attn.to_qkv")
    adapted = pipe.model.with_lora(file).network.get_submodule("transformer_blocks.0.attn.to_qkv")
    x = random(2, 5, 48).to(DEVICE)
    wanted = nn.functional.linear(x, formula(layer.weight.cpu()).to(DEVICE))
    torch.testing.assert_close(adapted(x), wanted + layer.bias, **NEAR)
    torch.testing.assert_close(adapted.product("to_v", x), wanted[..., 96:], **NEAR)


@pytest.mark.parametrize("method", METHODS)
def test_one_graph_of_a_compiler(pipe, tmp_path, method):
    """What stands beside a layer leaves no decision to Python that a compiler would have to break off for."""
    parts, _ = made(pipe.model.network, method, ("0.attn.to_q", "0.attn.to_v"))
    adapted = pipe.model.with_lora(save_parts(tmp_path / "a.safetensors", parts)).network
    layer, x = adapted.get_submodule("transformer_blocks.0.attn.to_qkv"), random(2, 48).to(DEVICE)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


# Biases


BIASES = {
    "of the second matrix, by alpha / r": ({"lora_up.bias": 2.0}, lambda b, v: b + 2 * v),
    "PEFT's of the second matrix": ({"lora_B.bias": 2.0}, lambda b, v: b + 2 * v),
    "a difference": ({"diff_b": 1.0}, lambda b, v: b + v),
    "the bias itself, as PEFT's lora_only has it": ({"bias": 1.0}, lambda b, v: v),
    "the same below PEFT's layer": ({"base_layer.bias": 1.0}, lambda b, v: v),
}


@pytest.mark.parametrize("strength", [1.0, 0.25])
@pytest.mark.parametrize("case", BIASES)
def test_biases(pipe, tmp_path, case, strength):
    endings, formula = BIASES[case]
    parts, formulas = made(pipe.model.network, "LoRA", ("to_k", "context_embedder"))
    for name, held in parts.items():
        value = random(len(held["lora_up.weight"]), seed=9)
        held |= dict.fromkeys(endings, value)
        formulas[f"{name}.bias"] = lambda b, value=value: formula(b, value)
    file = save_parts(tmp_path / "a.safetensors", parts)
    expected = logits(pipe, rewritten(pipe.model, formulas, strength))
    torch.testing.assert_close(logits(pipe, pipe.model.with_lora(file, strength)), expected, **NEAR)


def test_factors_of_pefts_outputs_are_for_the_bias_too(pipe, tmp_path):
    """(IA)^3 multiplies what the layer gives, bias and all."""
    factors = 1 + random(192, 1)
    name = "transformer_blocks.0.ff.net.0.proj"
    file = save_parts(tmp_path / "a.safetensors", {name: {"ia3_l": factors}})
    formulas = {f"{name}.weight": lambda w: w * factors, f"{name}.bias": lambda b: b * factors[:, 0]}
    expected = logits(pipe, rewritten(pipe.model, formulas, 0.5))
    torch.testing.assert_close(logits(pipe, pipe.model.with_lora(file, 0.5)), expected, **NEAR)


def test_a_layer_without_a_bias_gets_one(pipe, tmp_path):
    layer, value = pipe.model.network.project_to_hidden, random(48)
    assert layer.bias is None
    file = save_parts(tmp_path / "a.safetensors", {"project_to_hidden": {"diff_b": value}})
    x = random(2, 48).to(DEVICE)
    adapted = pipe.model.with_lora(file, 0.5).network.project_to_hidden
    torch.testing.assert_close(adapted(x), layer(x) + 0.5 * value.to(DEVICE))


# What is no linear layer that is called


def square(network, name):
    weight = network.state_dict()[network.renamed(f"{name}.weight")]
    return len(weight), weight[0].numel(), weight.shape[2:]


OTHERS = {
    "a 1x1 convolution": ("meissonic", "embed.conv", lora),
    "a 1x1 convolution, decomposed": ("meissonic", "embed.conv", dora(lora, "dora_scale")),
    "a convolution of stride 2": ("meissonic", "down_block.downsample.conv", lora),
    "the token head": ("meissonic", "mlm_layer.conv1", METHODS["LoKr, whole"]),
    "a norm": ("meissonic", "transformer_blocks.0.attn.norm_q", difference),
    "an embedding": ("meissonic", "embed.embeddings", difference),
    "a linear token head": ("openmuse", "mlm_layer.mlm_dense", METHODS["LoHa, kept whole"]),
    "a LayerNorm": ("openmuse", "transformer_layers.1.ffn.layer_norm", difference),
    "a convolution of diffusers": ("amused", "embed.conv", METHODS["GLoRA"]),
    "a depthwise one": ("amused", "down_block.res_blocks.0.depthwise", lora),
    "a norm of diffusers": ("amused", "transformer_layers.0.norm3.norm", difference),
    "an embedding that is the head": ("halton", "tok_emb", difference),
}


@pytest.fixture(scope="module")
def families(tmp_path_factory, pipe):
    folder = tmp_path_factory.mktemp("families")
    made = {"openmuse": openmuse_bundle, "amused": amused_bundle, "halton": halton_bundle}
    return {"meissonic": pipe} | {name: mgt_core.load(build(folder / name), **HERE) for name, build in made.items()}


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("case", OTHERS)
def test_a_changed_copy_takes_the_place_of_others(families, tmp_path, case, strength):
    family, name, method = OTHERS[case]
    pipe = families[family]
    out, width, kernel = square(pipe.model.network, name)
    parts, formula = method(out, width)
    if method is lora and kernel:  # as convolutions are saved
        down, up = parts["lora_down.weight"], parts["lora_up.weight"]
        parts |= {"lora_down.weight": down.reshape(3, -1, *kernel), "lora_up.weight": up[:, :, None, None]}
    file = save_parts(tmp_path / "a.safetensors", {f"transformer.{name}": parts})
    before = logits(pipe)
    adapted = pipe.model.with_lora(file, strength)
    expected = logits(pipe, rewritten(pipe.model, {f"{name}.weight": formula}, strength))
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(logits(pipe, adapted), expected, **NEAR)
    assert torch.equal(logits(pipe), before)
    torch.testing.assert_close(logits(pipe, adapted.with_lora(file, -strength)), before, **NEAR)
    own = {id(p) for p in pipe.model.network.parameters()}
    new = [p for p in adapted.network.parameters() if id(p) not in own]
    assert sum(p.numel() for p in new) <= out * width + out  # the copy's own, and all else shared


def test_a_norm_by_lycoris_names_with_its_bias(families, tmp_path):
    pipe, name = families["openmuse"], "transformer_layers.0.attn_layer_norm"
    weight, bias = random(32), random(32, seed=1)
    file = save_parts(
        tmp_path / "a.safetensors", {f"lycoris_{name.replace('.', '_')}": {"w_norm": weight, "b_norm": bias}}
    )
    formulas = {f"{name}.weight": lambda w: w + weight[:, None], f"{name}.bias": lambda b: b + bias}
    expected = logits(pipe, rewritten(pipe.model, formulas))
    torch.testing.assert_close(logits(pipe, pipe.model.with_lora(file)), expected, **NEAR)


# Scale


def test_scales_of_pefts_loha_and_lokr(tmp_path):
    """Their alpha is called alpha; of whole matrices the rank is the settings'."""
    held = {"a.context_embedder": METHODS["LoHa, kept as of rank 4"], "a.to_q": METHODS["LoKr, whole"]}
    layers = {f"base_model.model.{name}": method(48, 48)[0] for name, method in held.items()}
    for parts in layers.values():
        del parts["alpha"]
    file = save_parts(tmp_path / "adapter_model.safetensors", layers)
    settings = {"peft_type": "LOKR", "alpha": 6, "r": 4, "rank_pattern": {"to_q": 12}, "alpha_pattern": {"to_[qk]": 3}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    loaded = mgt_core.LoRA.load(file)
    scales = {name.removeprefix("base_model.model.a."): update.scale for name, update in loaded.updates.items()}
    assert scales == {"context_embedder": 6 / 2, "to_q": 3 / 12}


@pytest.mark.parametrize(("left", "right", "scale"), [(False, False, 1), (True, False, 2.5), (False, True, 2.5)])
def test_a_lokr_of_whole_matrices_has_no_scale_of_its_own(tmp_path, left, right, scale):
    file = save_parts(tmp_path / "a.safetensors", {"x": lokr(left, right)(8, 8)[0] | {"alpha": torch.tensor(5.0)}})
    assert mgt_core.LoRA.load(file).updates["x"].scale == scale
