"""Static scales apart for conditional and unconditional rows, and outputs in int8."""

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mgt_core
from mgt_core.backbones.meissonic.blocks import CPU_ROWS, in_parts
from mgt_core.conditioning.parts import ConditionPart, Conditions
from mgt_core.errors import MGTError
from mgt_core.kernels.sides import NEGATIVE, POSITIVE, sides, sides_of
from mgt_core.quantization.formats import FORMATS
from mgt_core.quantization.layers import GRID, LayerSettings, Treatment, packed_layers, rounded, scale_for
from mgt_core.quantization.observers import Scale
from mgt_core.quantization.surgery import replaced
from support.device import DEVICE, HERE, agree
from support.quantized import RUN, conditions, pipe, quantized, tokens, with_model

BOTH = torch.tensor([NEGATIVE, POSITIVE], device=DEVICE)


def packed(how: Treatment, width: int = 16, rows: int = 8):
    torch.manual_seed(0)
    return FORMATS.get("int8_tensorwise").pack(nn.Linear(width, rows).to(DEVICE), LayerSettings(16, 1)).treated(how)


def test_nothing_is_known_beyond_a_call():
    x = torch.zeros(2, 3)
    assert sides_of(x) is None
    with sides(BOTH):
        assert sides_of(x) is BOTH and sides_of(x[:1]) is None and sides_of(x[0]) is None
        seen = []
        other = threading.Thread(target=lambda: seen.append(sides_of(x)))
        other.start()
        other.join()
        assert seen == [None]
        with pytest.raises(KeyError), sides(None):
            assert sides_of(x) is None
            raise KeyError
        assert sides_of(x) is BOTH
    assert sides_of(x) is None


def test_each_side_has_its_scale():
    layer = packed(Treatment("static", (1 / GRID, 4 / GRID)))
    x = torch.full((2, 3, 16), 3.0, device=DEVICE)
    tight, wide = (packed(Treatment("static", (scale / GRID,))) for scale in (1.0, 4.0))
    with torch.no_grad(), sides(BOTH):
        assert agree(layer(x)[0], tight(x)[0]) and agree(layer(x)[1], wide(x)[1])
        assert agree(layer(x[:, 0])[0], tight(x[:, 0])[0])  # rows without places, as modulation has them
    with torch.no_grad():
        assert torch.equal(layer(x), wide(x))  # not known: the larger one, which clips neither


@settings(deadline=None, max_examples=30)
@given(
    places=st.integers(1, 4),
    images=st.integers(1, 3),
    low=st.floats(0.01, 3),
    high=st.floats(0.01, 3),
    dims=st.booleans(),
)
def test_scales_of_any_batch(places, images, low, high, dims):
    of = torch.tensor([NEGATIVE] * images + [POSITIVE] * images)
    x = torch.randn(2 * images, *([places] if dims else []), 5, generator=torch.Generator().manual_seed(places))
    scales = torch.tensor([low, high])
    with sides(of):
        found = scale_for(scales, x)
    assert found.shape == (2 * images, *[1] * (x.ndim - 1))
    assert found.flatten().tolist() == scales[of].tolist()
    assert scale_for(scales, x) == max(scales) and scale_for(scales[0], x) == scales[0]
    with sides(of):
        near = rounded(x, scales)
    limit = (GRID * scales)[of].view(found.shape)
    assert near.dtype == x.dtype and bool((near.abs() <= limit * 1.0001).all())
    assert bool(((near - x.clamp(-limit, limit)).abs() <= 0.5001 * found).all())


def test_equal_scales_give_what_one_gives():
    done = quantized(mgt_core.W4A8(condition_scales="together"))
    layers = packed_layers(done.model.network)
    apart = {
        n: layer.treated(replace(layer.treatment, inputs=2 * layer.treatment.inputs)) for n, layer in layers.items()
    }
    assert any(layer.settings.apart for layer in apart.values())
    both = replace(done.model, network=replaced(done.model.network, apart))
    for how in ({}, {"cfg": 1.0}, {"cfg": 0.0}, {"batch": 1}):
        assert agree(tokens(with_model(both), **how), tokens(with_model(done.model), **how))


def test_the_default_has_scales_apart_that_differ():
    held = [layer.treatment for layer in packed_layers(quantized().model.network).values()]
    static = [how for how in held if how.kind == "static"]
    assert static and all(len(how.inputs) == 2 and not how.outputs for how in static)
    assert any(how.inputs[0] != how.inputs[1] for how in static)
    assert all(how == Treatment() for how in held if how.kind == "float")


class Spy(nn.Module):
    """Notes the sides that it is called under."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.seen = layer, []
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, x):
        of = sides_of(x)
        self.seen.append(None if of is None else of.tolist())
        return self.layer(x)


def spied(name: str = "project_to_hidden"):
    network = pipe().model.network
    spy = Spy(network.get_submodule(name))
    return replaced(network, {name: spy}), spy


@pytest.mark.parametrize("cfg, expected", [(2.0, [0, 0, 1, 1]), (1.0, [1, 1]), (0.0, [0, 0])])
def test_sides_of_a_run(cfg, expected):
    network, spy = spied()
    tokens(with_model(replace(pipe().model, network=network)), cfg=cfg)
    assert spy.seen and all(seen == expected for seen in spy.seen)


def test_sides_of_several_conditions():
    network, spy = spied()
    model, text = replace(pipe().model, network=network), pipe().text
    positive = Conditions(tuple(ConditionPart(text.encode(prompt)) for prompt in ("a cat", "a dog")))
    state = mgt_core.empty_state(2, (4, 4), model.mask_id, model.codebook_size)
    mgt_core.sample(model, state, positive, text.encode(""), steps=2, cfg=2.0)
    assert spy.seen and all(seen == [0, 0, 1, 1, 1, 1] for seen in spy.seen)


def test_a_direct_call_knows_no_sides():
    network, spy = spied()
    model = replace(pipe().model, network=network)
    model.logits(torch.zeros(2, 4, 4, dtype=torch.long), pipe().text.encode("a cat"), 1.0)
    assert spy.seen == [None]
    quantized().model.logits(torch.zeros(2, 4, 4, dtype=torch.long), pipe().text.encode("a cat"), 1.0)


def test_rows_taken_in_parts_keep_their_sides():
    x = torch.randn(3, CPU_ROWS, 4)  # as a CPU takes them
    of, seen = torch.tensor([NEGATIVE, POSITIVE, POSITIVE]), []

    def compute(rows):
        seen.append(sides_of(rows))
        return rows * 2

    with torch.inference_mode(), sides(of):
        assert torch.equal(in_parts(compute, x), 2 * x)
        assert len(seen) == 3 and torch.equal(torch.cat(seen), of.repeat_interleave(CPU_ROWS))
        assert sides_of(x) is of
    seen.clear()
    with torch.inference_mode():
        assert torch.equal(in_parts(compute, x), 2 * x) and seen == [None] * 3


def test_compiled_code_follows_the_sides():
    layer = packed(Treatment("static", (1 / GRID, 4 / GRID), (1 / GRID, 2 / GRID)))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.full((2, 3, 16), 3.0, device=DEVICE)
    with torch.no_grad():
        for of in (None, BOTH, BOTH.flip(0)):
            with sides(of):
                assert torch.equal(compiled(x), layer(x))


def test_averages_by_side():
    scale = Scale()
    assert scale.values(True) == scale.values(False) == ()
    x = torch.tensor([[127.0], [254.0]], device=DEVICE)
    with sides(torch.tensor([POSITIVE, POSITIVE], device=DEVICE)):
        scale.see(x)
    assert scale.values(True) == pytest.approx((2, 2)) and scale.values(False) == pytest.approx((2,))
    with sides(BOTH):
        scale.see(x)
    assert scale.values(True) == pytest.approx((1, 2)) and scale.values(False) == pytest.approx((2,))
    unknown = Scale()
    unknown.see(x)
    assert unknown.values(True) == pytest.approx((2, 2))


@pytest.mark.parametrize("scales", ["apart", "together"])
def test_int8_outputs(scales, tmp_path):
    scheme = mgt_core.W4A8(outputs="int8", int8_share=1.0, condition_scales=scales)
    done = quantized(scheme)
    layers = packed_layers(done.model.network)
    with_outputs = {name for name, layer in layers.items() if layer.settings.outputs}
    assert {
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attn.to_out.0",
        "project_from_hidden",
    } <= with_outputs
    assert not any("norm" in name or "proj_mlp" in name for name in with_outputs)
    assert {layers[name].output_scale.numel() for name in with_outputs} == {2 if scales == "apart" else 1}
    plain = quantized(mgt_core.W4A8(int8_share=1.0, condition_scales=scales))
    assert not any(layer.settings.outputs for layer in packed_layers(plain.model.network).values())
    loaded = mgt_core.load(mgt_core.save_bundle(with_model(done.model), tmp_path / "saved"), **HERE)
    assert torch.equal(tokens(loaded), tokens(with_model(done.model)))
    assert loaded.model.quantization == scheme


def test_outputs_lie_on_the_grid():
    layer = packed(Treatment("static", (0.05,), (0.01,)))
    with torch.no_grad():
        codes = layer(torch.randn(2, 3, 16).to(DEVICE)) / 0.01
    assert torch.allclose(codes, codes.round(), atol=1e-4) and codes.abs().max() <= GRID


def test_no_share_makes_the_other_settings_idle():
    done = mgt_core.quantize(pipe().model, mgt_core.W4A8(int8_share=0.0, outputs="int8"), *conditions(), RUN)
    assert torch.equal(tokens(with_model(done.model)), tokens(with_model(quantized("w4a16").model)))


def test_settings_that_do_not_go_together():
    with pytest.raises(MGTError, match="outputs is 'int8'"):
        mgt_core.W8A8(outputs="int8")
    with pytest.raises(MGTError, match="'sideways'"):
        mgt_core.W4A8(condition_scales="sideways")
    with pytest.raises(MGTError, match="'int4'"):
        mgt_core.W4A8(outputs="int4")
