"""Family × technique: each works on a batch of two as on single images, or is refused by a sentence that says why."""

import inspect
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core import MGTModel
from support.device import DEVICE, HERE, agree
from support.families import EXACT, FAMILIES, REFUSED, TECHNIQUES, TIME, run

# Methods of MGTModel that attach a patch by its own name, those for any part, and those of what no picture shows.
COVERED = {"with_guidance", "with_compile", "with_token_merging", "with_token_cache", "with_guidance_reuse"}
COVERED |= {"with_step_skipping", "with_cuda_graphs"}
COVERED |= {"with_self_guidance", "with_modifier", "with_patch", "with_part", "with_timestep_rule"}
COVERED |= {"with_placement", "with_lora"}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE))


@pytest.fixture(scope="module")
def both(pipes):
    """Tokens of both images by family and technique, each run once."""
    return cache(lambda family, technique: run(pipes(family), technique))


@pytest.mark.parametrize("technique", TECHNIQUES)
@pytest.mark.parametrize("family", FAMILIES)
def test_works_or_is_refused(pipes, both, family, technique):
    if words := REFUSED.get((family, technique)):
        with pytest.raises(mgt_core.MGTError, match=words) as caught:
            run(pipes(family), technique)
        assert "\n" not in str(caught.value)
        return
    together = both(family, technique)
    assert not torch.equal(together[0], together[1])
    assert agree(together[1:], run(pipes(family), technique, (1,)))


def test_every_family_and_every_way_to_attach_is_in_the_table():
    assert set(FAMILIES) <= set(mgt_core.BACKBONES)  # all of them before a release
    methods = {name for name, _ in inspect.getmembers(MGTModel, inspect.isfunction) if name.startswith("with_")}
    assert methods == COVERED, "what is attached is a part of a registry, which the table reads"


def test_refusals_are_of_the_table():
    assert all(family in FAMILIES and technique in TECHNIQUES for family, technique in REFUSED)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_technique_does_shows(both, family):
    """The table would not notice a technique that does nothing."""
    plain = both(family, "sampler maskgit")
    same = {t for t in TECHNIQUES if (family, t) not in REFUSED and torch.equal(both(family, t), plain)}
    # The plain run itself; and only Meissonic's networks take notice of the time.
    timed = family in ("meissonic", "editmgt")
    assert same <= {"sampler maskgit", "schedule cosine"} | EXACT | (set() if timed else {TIME})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tmp_path, family, dtype):
    pipe = mgt_core.load(FAMILIES[family](tmp_path / family), dtype=dtype, device=DEVICE)
    assert {value.dtype for value in pipe.model.network.parameters()} == {dtype}
    run(pipe, "sampler maskgit")
