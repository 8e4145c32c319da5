"""Layers that ComfyUI leaves off the GPU work, are put back as they were, and are counted once."""

import copy
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import nn

import mgt_core
from mgt_core.quantization.quantize import apply
from support.bundles import amused_bundle, halton_bundle, openmuse_bundle
from support.device import DEVICE, HERE
from support.fake_comfy import FakeComfy
from support.golden import bundles, pipeline
from support.llada import llada, model_of, prompts
from support.llada import logits as words_logits
from support.loras import logits, low_rank_pairs, save_kohya, save_parts
from support.pack import ALIAS, load_pack
from support.quantized import quantized, with_model

load_pack()
host = sys.modules[f"{ALIAS}.nodes.host"]
streaming = sys.modules[f"{ALIAS}.nodes.streaming"]
META, CPU = torch.device("meta"), torch.device("cpu")
SCHEMES = ["none", "w4a16", "fp8", "w4a8"]


def fresh(scheme="none", pipe=None):
    """A pipeline whose network no other test shares, its layers able to stream."""
    if scheme == "w4a8":  # parts of fused layers that are treated in different ways
        pipe = with_model(quantized(mgt_core.W4A8(outputs="int8")).model)
    else:
        pipe = mgt_core.quantize_pipeline(pipe or pipeline(bundles()[0]), scheme)
    network = copy.deepcopy(pipe.model.network)
    streaming.let_stream(network)
    return mgt_core.Pipeline(mgt_core.MGTModel(network, pipe.model.pixels_per_token), pipe.text, *[None] * 3)


def streamed(network):
    return {name: layer for name, layer in network.named_modules() if hasattr(layer, "comfy_cast_weights")}


def leave_behind(network, every=1):
    """What ComfyUI does to every n-th layer that can stream, when it has no room for it."""
    for layer in list(streamed(network).values())[::every]:
        layer.comfy_cast_weights = True


def watch(network):
    """The set that devices of weights go into when their layers are called."""
    seen = set()
    for layer in network.modules():
        if list(layer.parameters(recurse=False)):
            layer.register_forward_pre_hook(
                lambda layer, _: seen.update(p.device for p in layer._parameters.values() if p is not None)
            )
    return seen


@pytest.mark.parametrize("scheme", SCHEMES)
def test_results_are_the_same_and_the_weights_stay_where_they_are(scheme):
    pipe = fresh(scheme)
    before, weights = logits(pipe), {id(p) for p in pipe.model.network.parameters()}
    leave_behind(pipe.model.network)
    assert torch.equal(logits(pipe), before)
    assert {id(p) for p in pipe.model.network.parameters()} == weights
    assert not any("left_behind" in vars(layer) for layer in streamed(pipe.model.network).values())


@pytest.mark.cpu_only("the GPU is pretended, and the weights rest on the CPU")
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_forward_on_another_device_needs_only_the_rest_there(scheme, every):
    """With "meta" for the GPU: when a layer is called its weights are there, and afterwards where they were."""
    pipe = fresh(scheme)
    network, size = pipe.model.network, sum(p.nbytes for p in pipe.model.network.parameters())
    leave_behind(network, every)
    behind = [layer for layer in streamed(network).values() if layer.comfy_cast_weights]
    moved = streaming.bring_the_rest(network, META)
    left = sum(p.nbytes for layer in behind for p in layer.parameters())
    assert moved == size - left and streaming.bring_the_rest(network, META) == 0
    seen = watch(network)
    tokens = torch.zeros(1, 4, 4, dtype=torch.long, device=META)
    prepared = network.prepare(pipe.text.encode(["a"], size=(64, 64)).to(META), (4, 4))
    out = network.head(network.features(tokens, torch.zeros(1, device=META), prepared))
    assert out.device == META and out.shape == (1, 4, 4, network.codebook_size)
    assert seen == {META}
    assert all(p.device == CPU for layer in behind for p in layer.parameters())
    for layer in behind:
        layer.comfy_cast_weights = False
    with suppress(RuntimeError):  # where torch itself notices
        network.prepare(pipe.text.encode(["a"], size=(64, 64)).to(META), (4, 4))
    assert CPU in seen  # what the watch would have noticed


@pytest.mark.parametrize("family", ["openmuse", "halton", "amused"])
def test_other_architectures_stream(tmp_path, family):
    folder = {"openmuse": openmuse_bundle, "halton": halton_bundle, "amused": amused_bundle}[family](tmp_path / family)
    pipe = fresh(pipe=mgt_core.load(folder, **HERE))
    network, before = pipe.model.network, logits(pipe)
    linear = sum(p.nbytes for m in network.modules() if isinstance(m, nn.Linear) for p in m.parameters())
    assert sum(p.nbytes for m in streamed(network).values() for p in m.parameters()) > 0.8 * linear
    leave_behind(network)
    assert torch.equal(logits(pipe), before)


@pytest.mark.parametrize("scheme", ["none", "w4a16", "w8a8", "fp8"])
def test_a_language_model_streams(scheme):
    """Its blocks, packed and not; the head, whose weights are applied directly, does not."""
    network = llada()
    network = network if scheme == "none" else apply(model_of(network), scheme).network
    before, size = words_logits(network), sum(p.nbytes for p in network.blocks.parameters())
    streaming.let_stream(network)
    layers = streamed(network)
    assert "ff_out" not in layers and sum(p.nbytes for m in layers.values() for p in m.parameters()) > 0.8 * size
    leave_behind(network)
    assert torch.equal(words_logits(network), before)
    if DEVICE == CPU:
        made = network.prepare(prompts()[1], (4, 4))
        prepared = replace(made, words=made.words.to(META), tables=made.tables.to(META))
        streaming.bring_the_rest(network, META)
        seen, tokens = watch(network), torch.zeros(2, 4, 4, dtype=torch.long, device=META)
        out = network.head(network.features(tokens, torch.zeros(1, device=META), prepared))
        assert out.shape == (2, 4, 4, network.codebook_size) and seen == {META}
        assert all(p.device == CPU for layer in layers.values() for p in layer.parameters())


def test_a_failure_puts_the_weights_back():
    layer = nn.Sequential(nn.Linear(3, 3))
    layer.uncalled = ("head",)
    streaming.let_stream(layer)
    streaming.let_stream(layer)  # again: no second hook
    inner = layer[0]
    weight, inner.comfy_cast_weights = inner.weight, True
    assert len(inner._forward_hooks) == len(inner._forward_pre_hooks) == 1
    with pytest.raises(RuntimeError):
        layer(torch.zeros(2, 4))
    assert inner.weight is weight and "left_behind" not in vars(inner)
    inner.weight = nn.Parameter(torch.zeros(3, 3, device=META))  # a copy fails
    inner.bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(NotImplementedError):
        layer(torch.zeros(2, 3))
    assert inner.weight.device == META and "left_behind" not in vars(inner)


def test_lora_shares_what_the_host_manages(monkeypatch, tmp_path):
    """One patcher for the base weights whoever uses them, one for each LoRA: nothing is counted twice."""
    comfy = FakeComfy(monkeypatch)
    loaded = []
    monkeypatch.setattr(sys.modules["comfy.model_management"], "load_models_gpu", lambda p, **_: loaded.append(p))
    pipe = fresh()
    plain = pipe.model.with_placement(host.ManagedPlacement(pipe.model.network, DEVICE, CPU))
    files = [save_kohya(tmp_path / f"{i}.safetensors", low_rank_pairs(plain.network, seed=i), 2) for i in range(2)]
    once = plain.with_lora(files[0])
    twice = once.with_lora(files[1])
    for model in (plain, once, twice):
        model.acquire()
    base = plain.placement._patcher
    assert [len(patchers) for patchers in loaded] == [1, 2, 3]
    assert all(patchers[0] is base for patchers in loaded) and loaded[2][:2] == loaded[1]
    for model, patchers in zip((plain, once, twice), loaded, strict=True):
        held = {id(p) for patcher in patchers for p in patcher.model.parameters()}
        counted = sum(p.nbytes for patcher in patchers for p in patcher.model.parameters())
        assert held == {id(p) for p in model.network.parameters()}
        assert counted == sum(p.nbytes for p in model.network.parameters())
    before = logits(pipe, twice)
    leave_behind(plain.network)  # what happens to the base happens to its layers in the others
    assert all(layer.comfy_cast_weights for layer in streamed(twice.network).values())
    assert torch.equal(logits(pipe, twice), before)
    assert comfy.loads == []


def test_copies_of_a_lora_are_moved_with_it(monkeypatch, tmp_path):
    """What a LoRA changes a copy of, as of a norm and of the token head, is under its own patcher."""
    FakeComfy(monkeypatch)
    pipe = fresh()
    plain = pipe.model.with_placement(host.ManagedPlacement(pipe.model.network, DEVICE, CPU))
    changes = {
        "project_to_hidden_norm": {"diff": torch.ones(48)},
        "mlm_layer.conv1": {"diff": torch.ones(48, 48, 1, 1)},
    }
    adapted = plain.with_lora(save_parts(tmp_path / "a.safetensors", changes))
    base, own = adapted.placement._patchers()
    assert base is plain.placement._patcher and len(list(own.model.parameters())) == 2
    held = {id(p) for patcher in (base, own) for p in patcher.model.parameters()}
    assert {id(p) for p in adapted.network.parameters()} < held
    before = logits(pipe, adapted)
    own.model.double()  # as a move does, it reaches the network
    assert adapted.network.project_to_hidden_norm.weight.dtype == torch.float64
    own.model.float()
    assert torch.equal(logits(pipe, adapted), before)
