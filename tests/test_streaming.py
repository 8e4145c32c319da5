"""Networks that stay in the CPU's memory: results, memory of the device, and what is sent when."""

import copy

import pytest
import torch

import mgt_core
from mgt_core.quantization.quantize import apply
from mgt_core.streaming import Traffic, streamable
from support.bundles import copy_bundle, halton_bundle, magnet_bundle, openmuse_bundle
from support.device import HERE
from support.families import run
from support.golden import bundles
from support.llada import llada, logits, model_of, prompts
from support.loras import low_rank_pairs, save_peft
from support.pretended import PretendedCUDA
from support.quantized import tokens, with_model

pytestmark = pytest.mark.cpu_only("the device is pretended")
CPU = torch.device("cpu")
SCHEMES = ["none", "w4a16", "w8a8", "fp8"]
BUNDLES = {
    "meissonic": lambda folder: copy_bundle(folder, bundles()[0]),
    "openmuse": openmuse_bundle,
    "halton": halton_bundle,
    "magnet": magnet_bundle,
}


def quantized(network, scheme: str):
    return network if scheme == "none" else apply(model_of(network), scheme).network


def streamed(network, model=None, keep: int = 0):
    return (model or model_of(network)).with_placement(mgt_core.Streamed(network, torch.device("cuda"), keep))


def sampled(model) -> torch.Tensor:
    state = mgt_core.empty_state(2, (4, 4), model.mask_id, model.codebook_size)
    return mgt_core.sample(model, state, *prompts(), steps=3, cfg=2.0, seed=1).tokens.cpu()


def weights(network) -> list[int]:
    return [value.data_ptr() for layer in streamable(network) for value in layer.parameters()]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_device_holds_two_layers_at_a_time(scheme):
    """The same tokens; everything else of the network lies there, and no wait is added."""
    network = quantized(llada(n_layers=6), scheme)
    expected = sampled(model_of(copy.deepcopy(network)))
    layers = [sum(value.nbytes for value in layer.parameters()) for layer in streamable(network)]
    with PretendedCUDA() as watch:
        whole = watch.put(copy.deepcopy(network))
        assert torch.equal(sampled(model_of(whole)), expected)
        peak, waits = watch.now.peak, watch.whole.waits.total()
        del whole
        watch.reset()
        model = streamed(network)
        model.acquire()
        rest = watch.live
        watch.reset()
        assert torch.equal(sampled(model), expected)
        assert watch.whole.waits.total() <= waits and not watch.whole.mixes
        assert watch.now.peak <= peak - sum(layers) + 2 * max(layers)
        assert rest < peak
    assert all(value.device == CPU for layer in streamable(network) for value in layer.parameters())


def test_layers_that_are_kept_are_not_sent():
    network = llada()
    expected, size = sampled(model_of(copy.deepcopy(network))), sum(p.nbytes for p in network.parameters())
    with PretendedCUDA() as watch:
        model = streamed(network, keep=size)
        assert torch.equal(sampled(model), expected)
        assert not any("traffic" in vars(layer) for layer in streamable(network)) and watch.live >= size
    first = next(streamable(network := llada()))
    streamed_model = mgt_core.Streamed(network, CPU, keep=sum(p.nbytes for p in first.parameters()))
    behind = ["traffic" in vars(layer) for layer in streamable(streamed_model.module)]
    assert behind == [False] + [True] * (len(behind) - 1)


def test_a_layer_is_on_its_way_before_its_turn(monkeypatch):
    """From the second evaluation on each is sent while the one before computes, once."""
    network, log = llada(), []
    send, fetch = Traffic.send, Traffic.fetch
    monkeypatch.setattr(Traffic, "send", lambda self, layer: log.append(("send", id(layer))) or send(self, layer))
    monkeypatch.setattr(Traffic, "fetch", lambda self, layer: (fetch(self, layer), log.append(("call", id(layer))))[0])
    before = logits(network)
    placement = mgt_core.Streamed(network, CPU)
    assert torch.equal(logits(network), before) and torch.equal(logits(network), before)
    log.clear()
    assert placement.acquire() == CPU and torch.equal(logits(network), before)
    order = [layer for kind, layer in log if kind == "call"]
    count = len(order)
    assert sorted(order) == sorted(id(layer) for layer in streamable(network))
    assert [layer for kind, layer in log if kind == "send"] == [*order[1:], order[0]]
    assert log.index(("send", order[1])) < log.index(("call", order[1])) and len(log) == 2 * count


def test_other_weights_and_another_order_are_noticed():
    network = llada()
    mgt_core.Streamed(network, CPU)
    logits(network), logits(network)  # the first layer is on its way again
    for layer in streamable(network):
        layer.weight = torch.nn.Parameter(layer.weight * 1.5, requires_grad=False)
    changed = logits(network)
    fresh = llada()
    for layer in streamable(fresh):
        layer.weight.mul_(1.5)
    assert torch.equal(changed, logits(fresh))
    x = torch.ones(1, network.blocks[2].attn_out.in_features)
    assert torch.equal(network.blocks[2].attn_out(x), fresh.blocks[2].attn_out(x))


def test_a_failure_puts_the_weights_back():
    network = llada()
    mgt_core.Streamed(network, CPU)
    held = weights(network)
    with pytest.raises(RuntimeError):
        network.blocks[0].attn_out(torch.zeros(1, 3))
    assert weights(network) == held and not any("left_behind" in vars(layer) for layer in streamable(network))


@pytest.mark.parametrize("family", BUNDLES)
def test_every_family_streams(family, tmp_path):
    pipe = mgt_core.load(BUNDLES[family](tmp_path / family), **HERE)
    expected = run(pipe, "no guidance")
    model = pipe.model.with_placement(mgt_core.Streamed(pipe.model.network, CPU))
    assert torch.equal(
        run(mgt_core.Pipeline(model, pipe.text, pipe.codec, pipe.size, pipe.name), "no guidance"), expected
    )


def test_a_lora_is_streamed_with_what_it_acts_on(tmp_path):
    pipe = mgt_core.load(bundles()[0], **HERE)
    file = save_peft(tmp_path, low_rank_pairs(pipe.model.network), 4.0)
    expected = tokens(with_model(pipe.model.with_lora(file)))
    with PretendedCUDA() as watch:
        adapted = streamed(pipe.model.network, pipe.model).with_lora(file)
        assert torch.equal(tokens(with_model(adapted)).cpu(), expected) and not watch.whole.mixes
