"""What a network cannot do is refused with the reason."""

from dataclasses import fields
from functools import cache

import pytest

import mgt_core
from mgt_core.backbones.base import GRID, REASONS
from mgt_core.backbones.branch import fresh_branch
from mgt_core.backbones.hooks import Hooks
from support.device import HERE
from support.families import FAMILIES, REFUSED

HOOKS = {field.name for field in fields(Hooks)}
# The blocks of the others are not ours.
OWN = [name for name in FAMILIES if mgt_core.BACKBONES.get(name).supports]
WITHOUT = [(name, hook) for name in OWN for hook in sorted(HOOKS - mgt_core.BACKBONES.get(name).supports)]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE).model)


@pytest.mark.parametrize("family", OWN)
def test_a_reason_is_given_for_each_hook_that_is_not_heeded(networks, family):
    network = networks(family).network
    assert set(network.refusals) - {GRID, *REASONS} == HOOKS - network.supports - set(REASONS)
    assert (GRID in network.refusals) == network.only_trained_grid
    assert all(told == told.strip(" .") and "\n" not in told for told in network.refusals.values())


@pytest.mark.parametrize(("family", "hook"), WITHOUT)
def test_the_sentence_says_who_why_and_what_else(networks, family, hook):
    network = networks(family).network
    able = [name for name in mgt_core.BACKBONES if hook in mgt_core.BACKBONES.get(name).supports]
    with pytest.raises(mgt_core.MGTError) as caught:
        network.check_supports(hook, "this")
    why = network.reason_against(hook)
    assert str(caught.value) == (
        f"this does not work with the {family} architecture: {why}; it works with {', '.join(able)}"
    )


@pytest.mark.parametrize("family", [name for name in FAMILIES if GRID in mgt_core.BACKBONES.get(name).refusals])
def test_other_grids_are_refused_with_the_reason(networks, family):
    model = networks(family)
    (height, width), unit = model.only_size, model.side_unit
    why = model.network.refusals[GRID]
    with pytest.raises(mgt_core.MGTError, match=f"this model makes {height} x {width} alone: {why}$"):
        model.grid_for(height + unit, width)
    h, w = model.network.trained_grid
    with pytest.raises(mgt_core.MGTError, match=f"this model has positions for {h} x {w} alone: {why}$"):
        model.network.check_grid((h, w + 1))


def test_a_network_without_a_branch_says_why():
    model = mgt_core.load("demo", **HERE).model

    class Apart(type(model.network)):
        self_guidance_branch = None
        refusals = {"top_down": "its attention is another library's"}

    network = Apart(model.network.config)
    with pytest.raises(mgt_core.MGTError, match="this one is Apart: its attention is another library's$"):
        fresh_branch(network)


def test_uncage_on_a_class_says_that_there_are_no_words():
    for family in ("halton", "openmuse"):
        assert "no words" in REFUSED[family, "sampler uncage"]
        assert "grid" in REFUSED[family, "outpainting"]
