"""Sampling: what holds for every registered sampler, and the step semantics of vanilla MaskGIT."""

import math
import random
from dataclasses import fields

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.sampling.draws import ROWS, GeneratorDraws, inverse_cdf
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.sampling.run import image_seeds
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
        assert torch.equal(together.tokens[i], alone.tokens[0])
        assert torch.equal(together.revealed_at[i], alone.revealed_at[0])
        torch.testing.assert_close(together.confidence[i], alone.confidence[0], atol=2e-4, rtol=0)


def test_one_prompt_serves_the_whole_batch():
    together = run(empty(batch=3))
    repeated = run(empty(batch=3), POSITIVE.expand(3), NEGATIVE.expand(3))
    assert torch.equal(together.tokens, repeated.tokens)
    assert torch.equal(together.tokens[2], run(seed=9).tokens[0])


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


def test_seeds_wrap_at_their_end():
    last = 2**64 - 1
    assert image_seeds(last - 1, 3) == (last - 1, last, 0)
    pair = run(empty(batch=2), seed=last)
    assert torch.equal(pair.tokens[0], run(seed=last).tokens[0])
    assert torch.equal(pair.tokens[1], run(seed=0).tokens[0])


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
    together = run(state, sampler=sampler, steps=4)
    for i in range(2):
        one = mgt_core.TokenState(state.tokens[i : i + 1], state.fixed[i : i + 1], state.mask_id, state.codebook_size)
        assert torch.equal(together.tokens[i], run(one, sampler=sampler, steps=4, seed=7 + i).tokens[0])


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


@pytest.mark.parametrize("schedule", mgt_core.list_schedules())
@pytest.mark.parametrize("steps", [5, 30])
def test_maskgit_follows_the_schedule(schedule, steps):
    state = partial(torch.arange(24).reshape(1, *GRID) < 5)
    _, seen = steps_of(state, schedule=schedule, steps=steps, cfg=1.0)
    family = mgt_core.SCHEDULES.get(schedule)()
    assert [int(step.result.masked.sum()) for step in seen] == family.counts(steps, 19)


@every_sampler
@pytest.mark.parametrize("grid", [(2, 8), (8, 2), (6, 4), (2, 2)])
def test_grids_need_not_be_square(sampler, grid):
    out = run(empty(grid), sampler=sampler, steps=2)
    assert out.grid == grid and out.revealed_at.shape == out.confidence.shape == (1, *grid)
    side = PIPE.codec.scale
    assert PIPE.codec.decode(out).shape == (1, grid[0] * side, grid[1] * side, 3)


# Guidance


@every_sampler
def test_cfg_one_asks_the_positive_condition_only(sampler):
    chosen = sampler if sampler != "masked_zsampling" else mgt_core.SAMPLERS.get(sampler)(inversion_cfg=1.0)
    out = run(negative=None, cfg=1.0, sampler=chosen)
    assert torch.equal(out.tokens, run(negative=condition(seed=9), cfg=1.0, sampler=chosen).tokens)
    assert not torch.equal(out.tokens, run(positive=condition(seed=9), cfg=1.0, sampler=chosen).tokens)


def test_cfg_zero_asks_the_negative_condition_only():
    out = run(positive=None, cfg=0.0)
    assert torch.equal(out.tokens, run(positive=NEGATIVE, negative=None, cfg=1.0).tokens)


@pytest.mark.parametrize("cfg", [0, 1, 0.5, 3.0])
def test_one_network_call_a_step(cfg):
    _, seen = steps_of(cfg=cfg)
    assert [step.calls for step in seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("cfg", [0.0, 0.4, 1.0, 3.0, 9.0, 30.0])
@torch.inference_mode()
def test_guidance_formula(cfg):
    known = torch.rand(2, *GRID, generator=torch.Generator().manual_seed(3)) < 0.5
    tokens, timestep = partial(known).tokens, torch.ones(2)
    conditions = [PIPE.model.complete(c, 2, GRID, "given") for c in (POSITIVE, NEGATIVE)]
    conditional, unconditional = (PIPE.model.logits(tokens, c, timestep).flatten(1, 2) for c in conditions)
    guided = GuidedNetwork(PIPE.model, *conditions, GRID).logits(tokens, timestep, cfg)
    expected = unconditional + cfg * (conditional - unconditional)
    torch.testing.assert_close(guided, expected, atol=1e-4 * (1 + cfg), rtol=0)


# Callbacks


@every_stepped_sampler
def test_callback_sees_every_step(sampler):
    state = partial(torch.arange(48).reshape(2, *GRID) % 7 == 0)
    out, seen = steps_of(state, sampler=sampler, seed=11)
    before = state
    for index, step in enumerate(seen):
        result = step.result
        assert (step.index, step.total, step.seeds) == (index, 5, (11, 12))
        assert step.progress == (index + 1) / 5
        assert torch.equal(step.tokens, before.tokens)
        left, was = (s.masked.flatten(1).sum(1) for s in (result, before))
        assert bool((left < was).all())
        if "zsampling" not in sampler:  # going back may mask other cells than were masked
            assert bool((result.masked <= before.masked).all())
        revealed = before.masked & ~result.masked
        assert bool((result.revealed_at[revealed] == index).all())
        assert bool((result.revealed_at[result.masked] == -1).all())
        assert bool(result.confidence.isfinite().all()) and bool((result.confidence <= 0).all())
        assert bool((result.confidence[revealed] < 0).all()) and bool((result.confidence[result.masked] == 0).all())
        before = result
    assert torch.equal(before.tokens, out.tokens) and torch.equal(before.revealed_at, out.revealed_at)


@every_sampler
def test_what_a_callback_got_stays_as_it_was(sampler):
    kept = []

    def keep(step):
        kept.append((step, step.tokens.clone(), step.result.tokens.clone(), step.result.confidence.clone()))

    run(sampler=sampler, callback=keep)
    for step, tokens, after, confidence in kept:
        assert torch.equal(step.tokens, tokens) and torch.equal(step.result.tokens, after)
        assert torch.equal(step.result.confidence, confidence)


@pytest.mark.parametrize("sampler", [n for n in STEPPED if n != "momentum"])  # it draws from other logits
def test_confidence_is_the_log_probability_of_the_token(sampler):
    """At the last step, where it can be recomputed from outside."""
    out, seen = steps_of(sampler=sampler, cfg=1.0)
    logits = PIPE.model.logits(seen[-1].tokens, POSITIVE, 0).log_softmax(-1)
    expected = logits.gather(-1, out.tokens[..., None])[..., 0]
    last = out.revealed_at == 4
    torch.testing.assert_close(out.confidence[last], expected[last], atol=1e-4, rtol=0)


class Cancelled(Exception):
    pass


@every_stepped_sampler
@pytest.mark.parametrize("at", [0, 2])
def test_cancelling_leaves_nothing_behind(sampler, at):
    expected = run(sampler=sampler)

    def cancel(step):
        if step.index == at:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(sampler=sampler, callback=cancel)
    assert torch.equal(expected.tokens, run(sampler=sampler).tokens)
    assert not any(module._forward_hooks for module in PIPE.model.network.modules())


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


# What the network is told, and where things are computed


def told_timesteps(monkeypatch, model, state, steps) -> list[torch.Tensor]:
    told, features = [], model.network.features

    def spy(tokens, timestep, *others):
        told.append(timestep.float().expand(tokens.shape[0]).clone())
        return features(tokens, timestep, *others)

    monkeypatch.setattr(model.network, "features", spy)
    mgt_core.sample(model, state, POSITIVE, None, steps=steps, cfg=1.0)
    return told


def test_timestep_rule_index(monkeypatch):
    told = told_timesteps(monkeypatch, PIPE.model.with_timestep_rule("index"), empty(batch=2), 4)
    assert [values.tolist() for values in told] == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]]


def test_timestep_rule_mask_ratio(monkeypatch):
    known = torch.arange(48).reshape(2, *GRID) < torch.tensor([0, 24 + 9])[:, None, None]
    told = told_timesteps(monkeypatch, PIPE.model.with_timestep_rule("mask_ratio"), partial(known), 4)
    cosine = mgt_core.SCHEDULES.get("cosine")()
    masked = [[24, *cosine.counts(4, 24)[:-1]], [15, *cosine.counts(4, 15)[:-1]]]
    expected = [[a / 24, b / 24] for a, b in zip(*masked, strict=True)]
    torch.testing.assert_close(torch.stack(told), torch.tensor(expected))


def test_result_is_on_the_device_of_the_state():
    out = run()
    devices = {value.device for value in (out.tokens, out.fixed, out.revealed_at, out.confidence)}
    assert devices == {torch.device("cpu")}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_model_on_the_gpu_and_state_on_the_cpu():
    pipe = mgt_core.load(bundles()[0], dtype=torch.float32, device="cuda")
    out = run(pipe=pipe)
    assert {v.device.type for v in (out.tokens, out.fixed, out.revealed_at, out.confidence)} == {"cpu"}
    assert torch.equal(out.tokens, run().tokens)


# Temperature


def test_one_temperature_falls_to_a_hundredth():
    assert mgt_core.MaskGIT(temperature=2.0).temperature == (2.0, 0.01)
    assert mgt_core.MaskGIT(temperature=[3, 1]).temperature == (3.0, 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_cold_runs_keep_the_surest_cells(seed):
    """At temperature 0 the log-probability of the drawn tokens alone decides which cells are kept."""
    drawn = {}

    class Watched(GeneratorDraws):
        def chooser(self, step):
            choose = super().chooser(step)

            def watched(logits, positions):
                ids = choose(logits, positions)
                drawn[step.index] = positions, logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
                return ids

            return watched

    state = empty(batch=2)
    _, seen = steps_of(state, sampler=mgt_core.MaskGIT(temperature=(0.0, 0.0), draws=Watched), seed=seed)
    for step in seen[:-1]:
        positions, sureness = drawn[step.index]
        dropped = step.result.masked.flatten(1).gather(1, positions)
        for values, out in zip(sureness, dropped, strict=True):
            assert values[~out].min() >= values[out].max() - 1e-5


def test_temperature_matters():
    cold, hot = run(temperature=(0.0, 0.0)), run(temperature=(50.0, 50.0))
    assert not torch.equal(cold.revealed_at, hot.revealed_at)


# Categorical draws


def test_draws_follow_the_distribution():
    """Chi-square over 40,000 draws from a table with impossible entries."""
    p = torch.tensor([0.0, 0.4, 0.05, 0.0, 0.3, 0.15, 0.1, 0.0])
    count = 40_000
    uniform = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = inverse_cdf(p.log().expand(count, -1), uniform)
    seen = torch.bincount(ids, minlength=8)
    possible = p > 0
    assert int(seen[~possible].sum()) == 0
    expected = p[possible] * count
    chi_square = float(((seen[possible] - expected) ** 2 / expected).sum())
    assert chi_square < 18.5  # 4 degrees of freedom: one in a thousand


@pytest.mark.parametrize(
    "logits",
    [
        [-math.inf, -math.inf, 0.0, 1.0, -math.inf],
        [0.0, -math.inf, 0.0, -200.0, -math.inf],
        [-math.inf, -math.inf, -math.inf, -math.inf, 5.0],
        [5.0, -math.inf, -math.inf, -math.inf, -math.inf],
    ],
)
def test_extreme_uniforms_draw_possible_codes(logits):
    row = torch.tensor(logits)
    edges = torch.tensor([0.0, 5e-324, 1e-17, 0.5, 1 - 1e-9, 1 - 2**-53], dtype=torch.float64)
    ids = inverse_cdf(row.expand(len(edges), -1), edges)
    likely = (row.softmax(-1) > 0).nonzero()[:, 0]
    assert bool(torch.isin(ids, likely).all())
    assert int(ids[0]) == int(likely[0]) and int(ids[-1]) == int(likely[-1])


def test_draws_over_a_full_codebook():
    """Cumulative sums in float64: every code of a flat table of 8192 has its own share of [0, 1)."""
    codes = torch.arange(0, 8192, 32)
    ids = inverse_cdf(torch.zeros(len(codes), 8192), (codes + 0.5).double() / 8192)
    assert torch.equal(ids, codes)


def test_rows_are_drawn_independently():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, ROWS + 7, 5, generator=generator)
    uniform = torch.rand(2, ROWS + 7, dtype=torch.float64, generator=generator)
    whole = inverse_cdf(logits, uniform)
    assert whole.shape == uniform.shape
    for i, j in ((0, 0), (0, ROWS), (1, 3), (1, ROWS + 6)):
        assert int(whole[i, j]) == int(inverse_cdf(logits[i, j], uniform[i, j]))


def test_prompts_of_different_length_take_two_calls():
    """Text rows carry no mask, so a longer prompt cannot share a call with a shorter one."""
    longer = condition(seed=2, length=9)
    _, steps = steps_of(negative=longer, steps=3, cfg=3.0)
    assert (steps[-1].calls, steps[-1].passes) == (6, 6)
    _, steps = steps_of(steps=3, cfg=3.0)
    assert (steps[-1].calls, steps[-1].passes) == (3, 6)
