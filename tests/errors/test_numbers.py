"""Numbers that break on the way: the step and the layer are named."""

import re

import pytest
import torch

import mgt_core
from support.bundles import copy_bundle
from support.device import HERE
from support.refusals import NAN, PIPE, check, sample


def broken(tmp_path, name: str, value: float) -> mgt_core.MGTModel:
    """Weights that break once they are loaded: those of files are looked at before."""
    model = mgt_core.load(copy_bundle(tmp_path / "bundle"), **HERE).model
    model.network.get_parameter(name).view(-1)[:1].fill_(value)
    return model


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_nan_weights_are_named(tmp_path, cfg):
    name = "single_transformer_blocks.1.proj_mlp.weight"
    check(sample(broken(tmp_path, name, NAN), cfg=cfg), ("step 1 of 2", "not finite", f"weights of {re.escape(name)}"))


def test_layer_that_overflows_is_named(tmp_path):
    name = "project_from_hidden.weight"
    model = broken(tmp_path, name, 3e38)
    model.network.project_from_hidden.weight.fill_(3e38)
    check(sample(model), ("step 1 of 2", "not finite", "output of project_from_hidden"))
    assert not any(module._forward_hooks for module in model.network.modules())


def test_step_of_a_later_failure_is_named():
    class Spoil(mgt_core.Modifier):
        def begin(self):
            return lambda logits, step: logits * (NAN if step.index == 1 else 1)

    check(sample(PIPE.model.with_modifier(Spoil())), ("step 2 of 2", "a modifier"))


def test_next_run_after_an_error_is_unaffected():
    good = sample()().tokens
    check(sample(cfg=NAN), ("cfg",))
    assert torch.equal(good, sample()().tokens)
