"""Whole runs: what holds for every registered sampler."""

import random
from dataclasses import fields

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.sampling.draws import image_seeds
from support.device import ON_CPU, REFERENCE, agree
from support.golden import bundles, label, pipeline
from support.runs import (
    GRID,
    NEGATIVE,
    PIPE,
    POSITIVE,
    SAMPLERS,
    STEPPED,
    condition,
    empty,
    every_sampler,
    every_stepped_sampler,
    few,
    grids_of_bools,
    partial,
    run,
    steps_of,
)

# Seeds and batches


@every_sampler
@pytest.mark.parametrize("folder", bundles(), ids=label)
def test_batch_equals_single_runs(folder, sampler):
    """With a prompt of its own for every image, token for token and step for step."""
    pipe = pipeline(folder)
    positive, negative = condition(pipe, 3, batch=4), condition(pipe, 4, batch=4)
    together = run(empty(batch=4, pipe=pipe), positive, negative, pipe, sampler=sampler, seed=40)

    def row(whole, i):
        return mgt_core.Condition(hidden=whole.hidden[i : i + 1], pooled=whole.pooled[i : i + 1])

    for i in range(4):
        alone = run(empty(pipe=pipe), row(positive, i), row(negative, i), pipe, sampler=sampler, seed=40 + i)
        assert agree(together.tokens[i], alone.tokens[0])
        assert agree(together.revealed_at[i], alone.revealed_at[0])
        # A cold draw's are of logits a hundred times as large.
        torch.testing.assert_close(together.confidence[i], alone.confidence[0], atol=2e-4, rtol=1e-3)


def test_one_prompt_serves_the_whole_batch():
    together = run(empty(batch=3))
    repeated = run(empty(batch=3), POSITIVE.expand(3), NEGATIVE.expand(3))
    assert agree(together.tokens, repeated.tokens)
    assert agree(together.tokens[2], run(seed=9).tokens[0])


@every_sampler
def test_seed_decides(sampler):
    first, again = run(sampler=sampler), run(sampler=sampler)
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.confidence, again.confidence)
    others = [run(sampler=sampler, seed=seed).tokens for seed in range(4)]
    assert len({tuple(tokens.flatten().tolist()) for tokens in others}) == 4


def test_images_of_a_batch_differ():
    a, b = run(empty(batch=2)).tokens
    assert not torch.equal(a, b)


@every_sampler
def test_runs_do_not_disturb_each_other(sampler):
    """Other sizes and batches run inside every step of a run."""
    undisturbed = run(sampler=sampler)
    inner = []

    def interrupt(step):
        inner.append(run(empty((2, 4), batch=2), sampler=sampler, seed=1).tokens)

    disturbed = run(sampler=sampler, callback=interrupt)
    assert torch.equal(undisturbed.tokens, disturbed.tokens)
    assert all(torch.equal(tokens, inner[0]) for tokens in inner)


@every_sampler
def test_global_generators_are_neither_used_nor_moved(sampler):
    torch.manual_seed(1)
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    first = run(sampler=sampler)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), numpy.random.get_state()[1].tolist())
    torch.manual_seed(2)
    assert torch.equal(first.tokens, run(sampler=sampler).tokens)


def test_each_image_may_have_a_seed_of_its_own():
    pair = run(empty(batch=2), seed=[9, 4])
    for image, seed in enumerate((9, 4)):
        assert torch.equal(pair.tokens[image], run(seed=seed).tokens[0])


def test_seeds_wrap_at_their_end():
    last = 2**64 - 1
    assert image_seeds(last - 1, 3) == (last - 1, last, 0)
    pair = run(empty(batch=2), seed=last)
    assert agree(pair.tokens[0], run(seed=last).tokens[0])
    assert agree(pair.tokens[1], run(seed=0).tokens[0])


# Known tokens


@few
@given(first=grids_of_bools, second=grids_of_bools, fixed=grids_of_bools, sampler=st.sampled_from(SAMPLERS))
def test_known_tokens_never_change(first, second, fixed, sampler):
    """Images with different numbers of known cells, some of them fixed, at a temperature that drowns the model."""
    known = torch.cat([first, second])
    state = partial(known, fixed & known)
    out, seen = steps_of(state, sampler=sampler, temperature=(1000.0, 1000.0), steps=4)
    for result in [out, *(step.result for step in seen)]:
        assert torch.equal(result.tokens[known], state.tokens[known])
        assert torch.equal(result.fixed, state.fixed)
    assert not bool(out.masked.any()) and int(out.tokens.max()) < out.codebook_size
    if seen:
        assert torch.equal(out.revealed_at >= 0, ~known) and bool((out.confidence[known] == 0).all())


@few
@given(first=grids_of_bools, sampler=st.sampled_from(STEPPED), steps=st.integers(1, 20))
def test_any_mask_is_filled_in_any_number_of_steps(first, sampler, steps):
    state = partial(first)
    out, seen = steps_of(state, sampler=sampler, steps=steps, cfg=1.0)
    assert not bool(out.masked.any()) and len(seen) in (0, steps)


@few
@given(first=grids_of_bools, second=grids_of_bools, sampler=st.sampled_from(SAMPLERS))
def test_batch_of_different_masks_equals_single_runs(first, second, sampler):
    state = partial(torch.cat([first, second]))
    chosen = {"sampler": sampler, "steps": 4, "schedule": "cosine"}  # by default another where cells are fixed
    together = run(state, **chosen)
    for i in range(2):
        one = mgt_core.TokenState(state.tokens[i : i + 1], state.fixed[i : i + 1], state.mask_id, state.codebook_size)
        assert agree(together.tokens[i], run(one, **chosen, seed=7 + i).tokens[0])


@every_sampler
def test_nothing_to_fill_returns_the_state(sampler, caplog):
    state = partial(torch.ones(1, *GRID, dtype=torch.bool))
    out, seen = steps_of(state, sampler=sampler)
    assert out is state and not seen
    assert "no cell is masked" in caplog.text


def test_a_finished_result_is_left_alone():
    out = run()
    assert run(out) is out


# Steps and sizes


@every_stepped_sampler
@pytest.mark.parametrize("steps", [1, 2, 8, 13])
def test_any_number_of_steps_fills_the_grid(sampler, steps):
    out, seen = steps_of(empty((2, 4)), sampler=sampler, steps=steps, cfg=1.0, schedule="linear")
    assert not bool(out.masked.any())
    assert [step.index for step in seen] == list(range(steps))
    assert int(out.revealed_at.max()) == steps - 1


@every_sampler
@pytest.mark.parametrize("grid", [(2, 8), (8, 2), (6, 4), (2, 2)])
def test_grids_need_not_be_square(sampler, grid):
    out = run(empty(grid), sampler=sampler, steps=2)
    assert out.grid == grid and out.revealed_at.shape == out.confidence.shape == (1, *grid)
    side = PIPE.codec.scale
    assert PIPE.codec.decode(out).shape == (1, grid[0] * side, grid[1] * side, 3)


# What stays, and where things are computed


@every_sampler
def test_inputs_are_never_changed(sampler):
    state = partial(torch.arange(24).reshape(1, *GRID) % 3 == 0)
    conditions = condition(seed=1), condition(seed=2)

    def snapshot():
        held = [state.tokens, state.fixed, *PIPE.model.network.state_dict().values()]
        held += [getattr(c, f.name) for c in conditions for f in fields(c)]
        return [None if value is None else value.clone() for value in held]

    before, attributes = snapshot(), set(vars(PIPE.model.network))
    out = run(state, *conditions, sampler=sampler)
    for old, new in zip(before, snapshot(), strict=True):
        assert new is None if old is None else torch.equal(old, new)
    assert set(vars(PIPE.model.network)) == attributes and PIPE.model.modifiers == ()
    assert out is not state and state.revealed_at is None


def test_result_is_on_the_device_of_the_state(device):
    for state in (empty(), empty().to(device)):
        out = run(state)
        devices = {value.device for value in (out.tokens, out.fixed, out.revealed_at, out.confidence)}
        assert devices == {state.tokens.device}


@pytest.mark.skipif(ON_CPU, reason="MGT_DEVICE names no GPU")
def test_tokens_are_those_of_a_cpu():
    assert agree(run().tokens, run(pipe=mgt_core.load(bundles()[0], **REFERENCE)).tokens)
