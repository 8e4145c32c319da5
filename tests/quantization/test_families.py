"""Quantization of every family."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.pipeline import calibration_conditions
from mgt_core.quantization.quantize import apply
from support.device import HERE
from support.families import FAMILIES, blank, steps_for
from support.quantized import RUN


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, tmp_path):
    """Packed, sampled, and where the family can be written, stored and read back."""
    of = mgt_core.load(FAMILIES[family](tmp_path / "bundle"), **HERE)
    assert packed_layers((model := apply(of.model, "w4a16")).network)
    positive, negative = calibration_conditions(model, of.text, ["a cat"])
    grid, steps = blank(of).grid, steps_for(of, 2)

    def made(by):
        return mgt_core.sample(by, blank(of, 1), positive, negative, steps=steps, cfg=2.0).tokens

    found = made(model)
    if "top_down" in model.network.supports:  # a branch has the type that packed networks compute in
        assert not torch.equal(made(model.with_self_guidance(mgt_core.fresh_branch(model.network), 20.0)), found)
    done = mgt_core.quantize(of.model, "w4a8", positive, negative, replace(RUN, grid=grid, steps=steps, states=1))
    assert 0 < done.report.after < done.report.before
    try:
        folder = mgt_core.save_bundle(replace(of, model=model), tmp_path / "saved")
    except MGTError as refusal:
        assert "cannot be saved" in str(refusal)
        return
    assert torch.equal(made(mgt_core.load(folder, **HERE).model), found)
