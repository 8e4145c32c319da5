"""Calibration of packed weights, against that which begins with weights in floats."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization import pipeline
from mgt_core.quantization.later import calibrate_packed, treated
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.quantize import apply
from support.llada import llada, model_of, prompts
from support.quantized import RUN, conditions, pipe, quantized, tokens, with_model

EVERY = mgt_core.W4A8(int8_share=1.0)


def packed(scheme: mgt_core.Scheme, model=None) -> mgt_core.MGTModel:
    return apply(model or pipe().model, scheme.weights_alone)


def shown():
    """Pictures of which both calibrations see the same states."""
    return torch.randint(0, 16, (2, 4, 4), generator=torch.Generator().manual_seed(4))


def test_of_all_layers_it_is_the_second_calibration():
    """Which looks at packed weights as well: the same scales of every layer, to the last bit."""
    expected = mgt_core.quantize(pipe().model, EVERY, *conditions(), RUN, pictures=shown())
    model, found = calibrate_packed(packed(EVERY), EVERY, *conditions(), RUN, pictures=shown())
    assert found.layers == expected.calibration.layers and found.scheme == repr(EVERY)
    assert torch.equal(tokens(with_model(model)), tokens(with_model(expected.model)))
    assert model.quantization == EVERY


def test_ranks_are_nearly_those_of_floats():
    """Of the layers chosen for int8 inputs, most are the same."""
    expected = {name for name, how in quantized().calibration.layers.items() if how.kind == "static"}
    _, calibration = calibrate_packed(packed(mgt_core.W4A8()), mgt_core.W4A8(), *conditions(), RUN)
    found = {name for name, how in calibration.layers.items() if how.kind == "static"}
    assert len(found) == len(expected) and len(found & expected) >= 0.8 * len(expected)


def test_the_network_is_treated_where_it_is():
    """There may be no room for two; what is stored of it gives the same, and no weight is copied."""
    model = packed(mgt_core.W4A8(), model_of(llada()))
    held = {name: layer.weight for name, layer in packed_layers(model.network).items()}
    ticks, run = [], replace(RUN, steps=3, states=2)
    done, calibration = calibrate_packed(model, mgt_core.W4A8(), *prompts(), run, lambda *at: ticks.append(at))
    assert done.network is model.network and ticks[-1] == (3 * 2 + 2 * 2, 3 * 2 + 2 * 2)
    layers = packed_layers(done.network)
    assert all(layer.weight is held[name] for name, layer in layers.items())
    kinds = [layer.settings.activations for layer in layers.values()]
    assert kinds.count("static") == round(len(kinds) / 3)
    again = treated(packed(mgt_core.W4A8(), model_of(llada())), mgt_core.W4A8(), calibration)
    assert [layer.treatment for layer in packed_layers(again.network).values()] == [
        layer.treatment for layer in layers.values()
    ]
    with pytest.raises(MGTError, match="another network"):
        treated(packed(mgt_core.W4A8()), mgt_core.W4A8(), calibration)


def test_a_pipeline_whose_weights_alone_are_packed_is_calibrated(monkeypatch):
    monkeypatch.setattr(pipeline, "LARGE_RUN", RUN)
    model = packed(mgt_core.W4A8())
    ready = mgt_core.quantize_pipeline(with_model(model), "w4a8")
    assert ready.model.quantization == mgt_core.W4A8() and ready.model.network is model.network
    with pytest.raises(MGTError, match="stored as"):
        mgt_core.quantize_pipeline(with_model(packed(mgt_core.W4A8())), "w8a8")
