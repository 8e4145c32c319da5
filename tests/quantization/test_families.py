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
from support.families import FAMILIES
from support.quantized import RUN


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, tmp_path):
    """Packed, sampled, and where the family can be written, stored and read back."""
    of = mgt_core.load(FAMILIES[family](tmp_path / "bundle"), **HERE)
    assert packed_layers((model := apply(of.model, "w4a16")).network)
    positive, negative = calibration_conditions(model, of.text, ["a cat"])
    grid = tuple(side // model.pixels_per_token for side in of.size)

    def made(by):
        state = mgt_core.empty_state(1, grid, model.mask_id, model.codebook_size)
        return mgt_core.sample(by, state, positive, negative, steps=2, cfg=2.0).tokens

    found = made(model)
    if "top_down" in model.network.supports:  # a branch has the type that packed networks compute in
        assert not torch.equal(made(model.with_self_guidance(mgt_core.fresh_branch(model.network), 20.0)), found)
    done = mgt_core.quantize(of.model, "w4a8", positive, negative, replace(RUN, grid=grid, steps=2, states=1))
    assert 0 < done.report.after < done.report.before
    try:
        folder = mgt_core.save_bundle(replace(of, model=model), tmp_path / "saved")
    except MGTError as refusal:
        assert "cannot be saved" in str(refusal)
        return
    assert torch.equal(made(mgt_core.load(folder, **HERE).model), found)
