"""ML-Cache on every kind of network: what it keeps, which rows it chooses, and beside other patches."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError, MLCache, StepSkipping
from mgt_core.patches.base import Moment
from mgt_core.patches.ml_cache import least_sure
from mgt_core.sampling.guided import GuidedNetwork
from support.device import HERE, agree, equal
from support.families import FAMILIES, conditions, one_of, run
from support.families import run as run_family

ALIKE = "lumina_dimoo"
ACTING = MLCache(0.6, 3, 0.0)


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE))


def tokens_of(pipe, patches=(), **settings):
    model = pipe.model
    for patch in patches:
        model = model.with_patch(patch)
    state = mgt_core.empty_tokens(pipe, 8 * pipe.codec.scale, 8 * pipe.codec.scale, 2)
    given = {"steps": 6, "cfg": 3.0, "temperature": (1.0, 0.0), "seed": 2, **settings}
    return mgt_core.sample(model, state, *conditions(pipe), **given).tokens


@pytest.mark.parametrize("family", ["meissonic", ALIKE])
@pytest.mark.parametrize("neutral", [MLCache(refresh_interval=1), MLCache(0.0), MLCache(warmup_ratio=1.0)])
def test_neutral_settings_change_nothing(pipes, family, neutral):
    pipe = pipes(family)
    assert equal(tokens_of(pipe, [neutral]), tokens_of(pipe))
    assert not torch.equal(tokens_of(pipe, [ACTING]), tokens_of(pipe))


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_as_many_rows_are_chosen_as_are_not_above_the_quantile(rows, ratio, seed):
    """Published: those whose largest logit is at most the quantile 1 - ratio, between ranks on a straight line."""
    values = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).float()
    patch = MLCache(ratio)
    wanted = values <= torch.quantile(values, torch.tensor(1 - ratio))
    ours = torch.zeros(rows, dtype=torch.bool)
    ours[least_sure(values[None], patch)[0]] = True
    rank = (1 - ratio) * (rows - 1)
    assert (ours ^ wanted).sum() <= (abs(rank - round(rank)) < 1e-4)  # one on a value may be rounded to either side
    assert equal(values[ours].sort().values, values.sort().values[: patch.chosen(rows)])


def test_rows_without_words_are_never_chosen():
    """Images of fewer words compute what they would alone, one of their rows several times."""
    values = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [math.inf, math.inf, 3.0, 2.0, 1.0, 0.0]])
    rows = least_sure(values, MLCache(0.5))
    assert rows.tolist() == [[5, 4, 3], [5, 4, 5]]
    assert least_sure(values[1:, 2:], MLCache(0.5)).tolist() == [[3, 2]]


@pytest.mark.parametrize("family", ["meissonic", ALIKE])
@torch.inference_mode()
def test_between_refreshes_others_keep_their_prediction(pipes, family):
    """And those chosen are the least sure of the step before; with a text of its own weights, of the picture's."""
    pipe, patch = pipes(family), MLCache(0.6, 9, 0.0)
    model, condition = pipe.model.with_patch(patch), one_of(conditions(pipe)[0], 1)
    condition = pipe.model.complete(condition, 1, (8, 8), "positive").to(model.device)
    network = GuidedNetwork(model.network, condition, None, (8, 8), model.run_patches())
    (kept,) = network.patches
    tokens = [torch.randint(0, 20, (1, 8, 8), generator=torch.Generator().manual_seed(s)) for s in range(2)]
    found = []
    for index, each in enumerate(tokens):
        time = torch.ones(1, device=model.device)
        found.append(network.logits(each.to(model.device), time, 1.0, moment=Moment(index, 9)))
        if not index:
            sure = kept.kept[(("positive", 0),)].logits.clone()
    side = model.network.row_side
    largest = model.network.row_cells(found[0].amax(-1).view(1, 8, 8)).amax(-1)
    cells = (8 // side) ** 2
    assert torch.allclose(sure[:, -cells:], largest, atol=1e-5) and (sure.shape[1] > cells) == (family == ALIKE)
    chosen = least_sure(sure, patch)[0] - (sure.shape[1] - cells)
    changed = (found[0] != found[1]).any(-1).view(1, 8, 8)
    rows = model.network.row_cells(changed).any(-1)[0]
    if family == ALIKE:  # whose cells are rows of their own; others are joined by convolutions afterwards
        assert set(rows.nonzero()[:, 0].tolist()) <= set(chosen.tolist())
    assert rows.any()


def test_prompts_of_a_batch_may_be_of_different_lengths(pipes):
    """Each image is what it is alone, whatever the others' prompts are."""
    pipe = pipes(ALIKE)
    model = pipe.model.with_patch(ACTING)
    prompts = ["a fox", "two cups of tea on a wooden table"]
    state = mgt_core.empty_tokens(pipe, 96, 128, 2)
    given = {"steps": 6, "cfg": 3.0, "temperature": (1.0, 1.0)}
    both = mgt_core.sample(model, state, pipe.text.encode(prompts), pipe.text.encode(""), seed=4, **given).tokens
    for place, prompt in enumerate(prompts):
        alone = mgt_core.empty_tokens(pipe, 96, 128)
        found = mgt_core.sample(model, alone, *map(pipe.text.encode, (prompt, "")), seed=4 + place, **given)
        assert agree(found.tokens, both[place : place + 1])


@pytest.mark.parametrize("family", ["meissonic", ALIKE])
def test_where_step_skipping_runs_all_blocks_all_rows_are_computed(pipes, family):
    """The last step, in which nothing is skipped, is one of those that compute all rows."""
    pipe, skipping, last = pipes(family), StepSkipping(2), MLCache(0.6, 5, 0.0)
    assert equal(tokens_of(pipe, [skipping, last]), tokens_of(pipe, [skipping]))


def test_it_takes_the_place_of_the_token_cache(pipes):
    model = pipes("meissonic").model.with_token_cache().with_patch(ACTING)
    assert model.patches == (ACTING,) and model.with_token_cache().patches == (mgt_core.TokenCache(),)


@pytest.mark.parametrize("beside", ["merging", "reuse", "zigzag"])
def test_beside_other_techniques_images_stay_apart(pipes, beside):
    pipe = pipes(ALIKE)
    model = pipe.model.with_patch(ACTING)
    model = {"merging": lambda: model.with_token_merging(0.5), "reuse": lambda: model.with_guidance_reuse(2)}.get(
        beside, lambda: model
    )()
    technique = "sampler masked_zsampling" if beside == "zigzag" else "sampler maskgit"
    changed = pipe.__class__(**{**vars(pipe), "model": model})
    both = run_family(changed, technique)
    assert agree(both[1:], run(changed, technique, (1,))) and not torch.equal(both[0], both[1])


def test_bad_settings_are_named():
    for call, words in (
        (lambda: MLCache(1.5), "ML-Cache cache_ratio is 1.5"),
        (lambda: MLCache(refresh_interval=0), "ML-Cache refresh_interval is 0"),
        (lambda: MLCache(warmup_ratio=-0.1), "ML-Cache warmup_ratio is -0.1"),
    ):
        with pytest.raises(MGTError, match=words):
            call()
