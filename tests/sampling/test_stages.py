"""Grids that are filled row by row: each row by a run of its own that sees the rows before it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError
from mgt_core.sample import settle
from mgt_core.sampling.draws import stage_seed
from mgt_core.sampling.stages import stage_steps
from support.device import agree, equal
from support.runs import every_sampler, few
from support.staged import BOOKS, CODES, FRAMES, SHARES, empty, given, logged, run, staged_model, text
from support.trials import is_sentence

MODEL = staged_model()
PAIR = text(2, seed=1)
OWN_STEPS = {"one_step": {"steps": None}}  # of each stage one, whatever a run asks for


def steps_of(*args, **settings):
    seen = []
    return run(*args, callback=seen.append, **settings), seen


@few
@for_all(st.lists(st.integers(0, 60), min_size=1, max_size=9).filter(any), st.integers(0, 200))
def test_steps_are_divided_by_the_shares_and_every_stage_has_one(shares, more):
    steps = len(shares) + more
    model = staged_model(books=len(shares), shares=tuple(shares))
    counts = stage_steps(model, steps)
    assert len(counts) == len(shares) and sum(counts) == steps and min(counts) >= 1
    if steps % sum(shares) == 0 and min(shares) > 0:
        assert counts == [share * steps // sum(shares) for share in shares]


def test_a_whole_multiple_of_the_shares_is_divided_exactly():
    assert stage_steps(MODEL, 40) == list(SHARES) and stage_steps(MODEL, 4) == [2, 1, 1]
    assert stage_steps(MODEL, BOOKS) == [1] * BOOKS


@pytest.mark.parametrize("steps", [1, BOOKS - 1])
def test_fewer_steps_than_books_are_refused(steps):
    with pytest.raises(MGTError, match=f"steps is {steps}; this model fills 3 code books one after the other") as told:
        run(steps=steps)
    assert is_sentence(str(told.value))


@every_sampler
def test_every_sampler_fills_the_rows_and_a_sound_does_not_depend_on_its_batch(sampler):
    settings = {"sampler": sampler, "steps": 8} | OWN_STEPS.get(sampler, {})
    both = run(state=empty(2), positive=PAIR, **settings)
    assert both.tokens.shape == (2, BOOKS, FRAMES) and not both.masked.any()
    assert not torch.equal(both.tokens[0], both.tokens[1])
    second = mgt_core.Condition(hidden=PAIR.hidden[1:])
    assert agree(both.tokens[1:], run(positive=second, seed=8, **settings).tokens)


@every_sampler
def test_callbacks_see_whole_grids_and_steps_of_the_whole(sampler):
    settings = {"sampler": sampler, "steps": 8} | OWN_STEPS.get(sampler, {})
    out, seen = steps_of(state=empty(2), positive=PAIR, **settings)
    counts = stage_steps(MODEL, BOOKS if sampler == "one_step" else 8)
    ends = [sum(counts[: stage + 1]) for stage in range(BOOKS)]
    for before, after in zip(seen, seen[1:], strict=False):
        assert before.index < after.index and before.calls < after.calls and before.passes < after.passes
    for step in seen:
        stage = next(i for i, end in enumerate(ends) if step.index < end)
        assert step.total == sum(counts) and step.tokens.shape == (2, BOOKS, FRAMES)
        for grid in (step.tokens, step.result.tokens):
            assert not (grid[:, :stage] == CODES).any() and (grid[:, stage + 1 :] == CODES).all()
            assert equal(grid[:, :stage], out.tokens[:, :stage])
        assert (step.result.revealed_at[:, stage][~step.result.masked[:, stage]] <= step.index).all()
    last = seen[-1].result
    assert all(equal(getattr(last, n), getattr(out, n)) for n in ("tokens", "revealed_at", "confidence"))
    for stage, end in enumerate(ends):
        row = out.revealed_at[:, stage]
        assert (row >= end - counts[stage]).all() and (row < end).all()
    assert (out.confidence <= 0).all() and (out.confidence < 0).any(2).all()


def test_what_a_callback_got_can_be_asked_for_later():
    _, seen = steps_of()
    now = []
    run(callback=lambda step: now.append(step.result))
    assert all(equal(step.result.revealed_at, held.revealed_at) for step, held in zip(seen, now, strict=True))


def test_stages_are_runs_of_their_rows_that_see_those_before():
    model, asked = logged(MODEL)
    out = run(model, cfg=1.0)
    assert [call.stage for call in asked] == [0] * 4 + [1] * 2 + [2] * 2
    for call in asked:
        assert call.row.shape == (1, 1, FRAMES)
        assert equal(call.beside[:, : call.stage], out.tokens[:, : call.stage])
        assert (call.beside[:, call.stage :] == CODES).all()
    # By hand, row by row.
    tokens = empty().tokens
    for stage, steps in enumerate((4, 2, 2)):
        row = mgt_core.empty_state(1, (1, FRAMES), CODES, CODES)
        filled = mgt_core.MaskGIT((2.0, 0.0), temperature_shape="linear")(
            MODEL.at_stage(stage, tokens), row, text(seed=1), None,
            schedule=mgt_core.SCHEDULES.get("cosine")(), steps=steps, cfg=1.0, seeds=[stage_seed(7, stage)],
        )  # fmt: skip
        tokens = tokens.clone()
        tokens[:, stage] = filled.tokens[:, 0]
    assert equal(out.tokens, tokens)


def test_seeds_of_stages_are_all_different():
    seeds = [stage_seed(seed, stage) for seed in range(50) for stage in range(4)]
    assert len(set(seeds)) == len(seeds) and [stage_seed(seed, 0) for seed in range(50)] == list(range(50))


def test_given_cells_stay_and_are_seen():
    state = given(2)
    fixed = torch.zeros_like(state.fixed)
    fixed[:, :, 2:5] = True
    state = replace(state, fixed=fixed, tokens=state.tokens.masked_fill(~fixed, CODES))
    model, asked = logged(MODEL)
    out = run(model, state, PAIR)
    assert equal(out.tokens[fixed], state.tokens[fixed]) and not out.masked.any()
    assert (out.revealed_at[fixed] == -1).all() and (out.revealed_at[~fixed] >= 0).all()
    for call in asked:
        assert equal(call.beside[:2, :, 2:5], state.tokens[:, :, 2:5])


def test_a_book_that_is_given_takes_no_calls_of_its_own():
    whole = run()
    state = replace(whole, tokens=whole.tokens.clone(), confidence=None)
    state.tokens[:, 2] = CODES
    model, asked = logged(MODEL)
    out = run(model, state, seed=8)
    assert {call.stage for call in asked} == {2}
    assert equal(out.tokens[:, :2], whole.tokens[:, :2]) and not out.masked.any()
    assert (out.revealed_at[:, :2] == -1).all() and (out.revealed_at[:, 2] >= 6).all()


def test_a_batch_of_which_some_books_are_given_is_its_sounds_one_by_one():
    whole = run(state=empty(2), positive=PAIR)
    tokens = whole.tokens.clone()
    tokens[0, 1], tokens[1, 2] = CODES, CODES
    state = mgt_core.TokenState(tokens, tokens != CODES, CODES, CODES)
    both = run(state=state, positive=PAIR, seed=20)
    for image in range(2):
        own = mgt_core.TokenState(tokens[image : image + 1], (tokens != CODES)[image : image + 1], CODES, CODES)
        alone = run(state=own, positive=mgt_core.Condition(hidden=PAIR.hidden[image : image + 1]), seed=20 + image)
        assert agree(both.tokens[image : image + 1], alone.tokens)


def test_strength_repaints_every_book_in_turn():
    state = given(strength=0.5)
    model, asked = logged(MODEL)
    out = run(model, state, cfg=1.0)
    assert [call.stage for call in asked] == [0, 0, 1, 2] and out.strength is None and not out.masked.any()
    for call in asked:
        kept = call.row[0, 0] != CODES
        assert 0 < int(kept.sum()) < FRAMES  # some of the old sound is seen, in the row of the stage
        assert (call.beside[:, call.stage :] == CODES).all()  # and nothing of rows to come
    assert not equal(out.tokens, state.tokens) and (out.tokens == state.tokens).any()


@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_a_strength_too_small_for_any_stage_gives_the_sound_back(strength, caplog):
    """0.2 of 8 steps is one, but none of the 4, 2 and 2 of the stages."""
    state = given(strength=strength)
    out = run(state=state)
    assert equal(out.tokens, state.tokens) and out.strength is None
    assert "there is nothing to do" in caplog.text
    assert f"strength {strength:g} leaves none of the 8 steps" in caplog.text


def test_a_stage_whose_share_is_too_small_keeps_its_book():
    state = given(strength=0.4)  # one step of 4, none of 2
    out = run(state=state)
    assert equal(out.tokens[:, 1:], state.tokens[:, 1:]) and not equal(out.tokens[:, 0], state.tokens[:, 0])


def test_variations_keep_what_is_not_drawn_anew():
    state = mgt_core.vary_tokens(given(2), 0.5, seed=3)
    out = run(state=state, positive=PAIR)
    kept = ~state.masked
    assert equal(out.tokens[kept], state.tokens[kept]) and not out.masked.any()


def test_parts_of_conditions_act_in_their_cells_and_at_their_time_in_every_stage():
    left = torch.zeros(1, BOOKS, FRAMES)
    left[..., : FRAMES // 2] = 1
    first, second = text(seed=1), text(seed=5)
    both = mgt_core.Conditions((mgt_core.ConditionPart(first, left), mgt_core.ConditionPart(second, 1 - left)))
    model, asked = logged(MODEL)
    assert not run(model, positive=both, cfg=1.0).masked.any()
    assert {len(call.row) for call in asked} == {2}
    only = mgt_core.Conditions((mgt_core.ConditionPart(first, left), mgt_core.ConditionPart(first, 1 - left)))
    assert agree(run(positive=only).tokens, run(positive=first).tokens)
    early = mgt_core.Conditions((mgt_core.ConditionPart(first), mgt_core.ConditionPart(second, 3.0, end=0.5)))
    asked.clear()
    run(model, positive=early, cfg=1.0)
    assert [len(call.row) for call in asked] == [2, 2, 1, 1, 2, 1, 2, 1]


def test_a_part_of_one_book_acts_in_its_stage_alone():
    table = torch.zeros(1, BOOKS, FRAMES)
    table[:, 1] = 1
    parts = (mgt_core.ConditionPart(text(seed=1)), mgt_core.ConditionPart(text(seed=5), 1000 * table))
    out, plain = run(positive=mgt_core.Conditions(parts)), run()
    assert equal(out.tokens[:, 0], plain.tokens[:, 0]) and not equal(out.tokens[:, 1], plain.tokens[:, 1])


def test_a_part_without_a_prompt_is_told_as_of_a_sound():
    left = torch.zeros(1, BOOKS, FRAMES)
    left[..., 0] = 1
    part = mgt_core.Conditions((mgt_core.ConditionPart(text(), left),))
    with pytest.raises(MGTError, match="leaves part of the sound or of the run without a prompt") as told:
        mgt_core.sample(MODEL, empty(), part, steps=8, cfg=1.0)
    assert is_sentence(str(told.value))
    with pytest.raises(MGTError, match="reaches every part of the sound"):
        mgt_core.sample(MODEL, empty(), part, part, steps=8, cfg=2.0)


def test_a_condition_that_one_stage_alone_needs_is_given_to_all():
    """Guidance acts in the first half: a stage of one step never leaves it, one of two does."""
    guided = MODEL.with_guidance(mgt_core.GuidanceSchedule(start=0.5, end=1.0, outside=1.0))
    model, asked = logged(guided)
    run(model, steps=5)
    assert stage_steps(MODEL, 5) == [3, 1, 1] or stage_steps(MODEL, 5) == [2, 2, 1]
    assert {len(call.row) for call in asked} == {1, 2}


def test_guidance_over_the_run_begins_anew_with_every_stage():
    falling = MODEL.with_guidance(mgt_core.GuidanceSchedule(shape="falling", outside=1.0))
    model, asked = logged(falling)
    run(model, steps=8, cfg=3.0)
    assert [len(call.row) for call in asked] == [2, 2, 2, 1, 2, 1, 2, 1]  # 1 at each last step: one condition


def test_one_step_makes_one_of_every_stage(caplog):
    out, seen = steps_of(sampler="one_step", steps=None)
    assert [step.index for step in seen] == [0, 1, 2] and not out.masked.any()
    assert settle(MODEL, empty(), sampler="one_step", steps=20).steps == BOOKS
    assert settle(MODEL, empty(), sampler="one_step").steps == BOOKS


def test_samplers_that_end_early_go_on_with_the_next_book():
    klass = mgt_core.KLASS((2.0, 0.0), temperature_shape="linear", confidence=0.0, kl=100.0, history=1)
    out, seen = steps_of(sampler=klass, steps=20)
    assert len(seen) < 20 and not out.masked.any()
    assert (out.revealed_at[:, 1] >= 10).all() and (out.revealed_at[:, 2] >= 15).all()


def test_an_interrupted_run_ends_with_its_callback():
    seen = []

    def stop(step):
        seen.append(step.index)
        if step.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(callback=stop)
    assert seen == list(range(6))


def test_what_acts_over_the_run_is_begun_anew_by_every_stage():
    begun = []

    class Counted(mgt_core.EntropyTemperature):
        def begin(self):
            begun.append(self)
            return super().begin()

    run(MODEL.with_modifier(Counted()))
    assert len(begun) == BOOKS


def test_steps_of_several_runs_in_a_stage_count_as_its_share():
    """As candidates that do not fit into memory at once make them."""

    def twice(model, state, *conditions, steps, callback, **others):
        for index in range(2 * steps):
            callback(mgt_core.Step(index, 2 * steps, state.tokens))
        return replace(state, tokens=torch.zeros_like(state.tokens))

    _, seen = steps_of(sampler=twice)
    assert [step.index for step in seen] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert all(step.total == 8 for step in seen)
