"""Samplers whose number of steps follows the picture: what they share, whatever allows a cell."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import KLASS, EntropyBounded, GuidanceSchedule, NoiseRegularization
from mgt_core.samplers.adaptive import Adaptive, Pace, begins, place, steps_to_come
from mgt_core.sampling import draws
from support.device import agree, equal
from support.runs import GRID, KINDS, PIPE, few, grids_of_bools, partial, run, steps_of

EARLY = [name for name, kind in KINDS.items() if issubclass(kind, Adaptive)]
# Which on the tiny model reveal more than the schedule, but not all at once.
QUICK = {"entropy_bounded": EntropyBounded(bound=12.0), "klass": KLASS(confidence=0.02, kl=0.3, history=1, cap=0.2)}
SCHEDULES = [None, *mgt_core.list_schedules()]
quick = pytest.mark.parametrize("name", QUICK)
every_early = pytest.mark.parametrize("name", EARLY)


def states(count=3):
    """Images with different numbers of known cells."""
    cells = torch.arange(count * 24).reshape(count, *GRID)
    return partial((cells * 7919) % 24 < torch.arange(count).view(-1, 1, 1) * 5)


def masked(state):
    return state.masked.flatten(1).sum(1).tolist()


def masked_before(step):
    return (step.tokens == PIPE.model.mask_id).flatten(1).sum(1).tolist()


def one(state, i):
    return mgt_core.TokenState(state.tokens[i : i + 1], state.fixed[i : i + 1], state.mask_id, state.codebook_size)


@every_early
def test_every_one_of_them_is_tried_here(name):
    assert type(QUICK[name]) is KINDS[name]


class TestAPace:
    @quick
    def test_each_image_has_its_own_and_is_what_it_is_alone(self, name):
        """With what looks at the number of the step, too."""
        model = PIPE.model.with_modifier(NoiseRegularization(0.5)).with_guidance(GuidanceSchedule(0.0, 0.5))
        pipe = SimpleNamespace(model=model)
        state, chosen = states(), {"pipe": pipe, "sampler": QUICK[name], "steps": 20, "schedule": "cosine"}
        together = run(state, **chosen)
        took = (together.revealed_at.flatten(1).amax(1) + 1).tolist()
        assert len(set(took)) > 1 and max(took) < 20
        for i, steps in enumerate(took):
            alone, seen = steps_of(one(state, i), seed=7 + i, **chosen)
            assert agree(together.tokens[i], alone.tokens[0]) and agree(together.revealed_at[i], alone.revealed_at[0])
            assert len(seen) == steps == seen[-1].calls

    @few
    @given(
        known=grids_of_bools,
        name=st.sampled_from([*QUICK]),
        steps=st.integers(1, 30),
        schedule=st.sampled_from(SCHEDULES),
    )
    def test_it_is_never_behind_the_schedule(self, known, name, steps, schedule):
        state = partial(known)
        out, seen = steps_of(state, sampler=QUICK[name], steps=steps, schedule=schedule, cfg=1.0)
        assert not bool(out.masked.any()) and len(seen) <= steps
        if not seen:
            return
        slowest = mgt_core.SCHEDULES.get(schedule or "cosine")().counts(steps, masked(state)[0])
        left = [masked(step.result)[0] for step in seen]
        assert all(now <= most for now, most in zip(left, slowest, strict=False))
        assert left[-1] == 0 and 0 not in left[:-1]

    @quick
    def test_what_is_given_stays(self, name):
        state = states()
        for step in steps_of(state, sampler=QUICK[name], steps=20)[1]:
            assert equal(step.result.tokens[state.fixed], state.tokens[state.fixed])

    def test_one_step_is_one_evaluation(self):
        for sampler in QUICK.values():
            out, seen = steps_of(sampler=sampler, steps=1)
            assert agree(out.tokens, run(steps=1).tokens) and [(s.index, s.total) for s in seen] == [(0, 1)]


class TestWhatIsWatched:
    @quick
    def test_whatever_part_of_the_cells_is_seen_at_a_time(self, name, monkeypatch):
        """A few rows at once, or the known cells too."""
        own = run(states(), sampler=QUICK[name], steps=20)
        model = PIPE.model.with_modifier(mgt_core.DifferentialSampling(0.0))
        assert model.modifiers[0].all_positions
        assert agree(own.tokens, run(states(), pipe=SimpleNamespace(model=model), sampler=QUICK[name], steps=20).tokens)
        monkeypatch.setattr(draws, "ROWS", 9)
        assert agree(own.tokens, run(states(), sampler=QUICK[name], steps=20).tokens)

    @quick
    def test_what_a_modifier_leaves_is_what_counts(self, name):
        """Of one code there is no doubt, where the model itself has many."""
        model = PIPE.model.with_modifier(mgt_core.TopKTopP(k=1))
        sampler = {"entropy_bounded": EntropyBounded(bound=1e-6), "klass": KLASS(confidence=0.9, history=1)}[name]
        plain, least = (
            steps_of(pipe=SimpleNamespace(model=m), sampler=sampler, steps=20)[1] for m in (PIPE.model, model)
        )
        assert len(plain) == 20 and len(least) < 15


class TestTemperature:
    @few
    @given(total=st.integers(1, 60), steps=st.integers(1, 60), name=st.sampled_from(mgt_core.list_schedules()))
    def test_at_the_schedules_pace_it_is_the_steps(self, total, steps, name):
        schedule = mgt_core.SCHEDULES.get(name)()
        slowest = begins(schedule.targets(steps, total), total)
        assert slowest == [total, *schedule.counts(steps, total)][:steps]
        for index, count in enumerate(slowest):
            assert place(slowest, count) == index or slowest[place(slowest, count)] == count == 1

    @pytest.mark.parametrize(("masked", "step"), [(100, 0), (81, 0), (80, 1), (55, 1), (10, 3), (9, 3), (0, 3)])
    def test_ahead_of_it_that_of_a_later_step(self, masked, step):
        assert place([100, 80, 50, 10], masked) == step

    @quick
    def test_an_image_that_is_ahead_has_come_to_a_lower_one(self, name, monkeypatch):
        """With ones for the noise, so that it is the temperature: 20 at the first step, 1 at the last."""
        noises, kind = [], type(QUICK[name])
        judge = kind.judge

        def watched(self, run, drawn, watch, noise):
            noises.append([1.0] * 3 if isinstance(noise, float) else noise.amax(1).tolist())
            return judge(self, run, drawn, watch, noise)

        monkeypatch.setattr(kind, "judge", watched)
        monkeypatch.setattr(draws.GeneratorDraws, "gumbel", lambda self, step: torch.ones(step.tokens.flatten(1).shape))
        sampler = replace(QUICK[name], temperature=(20.0, 1.0), temperature_shape="linear")
        _, seen = steps_of(states(), sampler=sampler, steps=20, schedule="linear")
        counts = [mgt_core.SCHEDULES.get("linear")().counts(20, first) for first in masked_before(seen[0])]
        ahead = 0
        for step, found in zip(seen, noises, strict=True):
            for own, now, temperature in zip(counts, masked_before(step), found, strict=True):
                reached = sum(count >= now for count in own)  # steps after which as many are left
                assert temperature == pytest.approx(20 - min(max(step.index, reached), 19))
                ahead += reached > step.index
        assert ahead > 3


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(0, 4),
    st.integers(0, 5),
)
def test_progress(paces, first, spare):
    """paces: cells that each image reveals in each of its steps."""
    made = max(map(len, paces))
    left = [[sum(pace[k:]) for k in range(made + 1)] for pace in paces]
    now = SimpleNamespace(first=first, steps=first + made + spare, left=[own[0] for own in left])
    seen = []
    pace = Pace(now, seen.append)
    for k in range(made):
        now.left = [own[k + 1] for own in left]
        pace(mgt_core.Step(index=first + k, total=now.steps, tokens=torch.zeros(1, 1, 1)))
    done, totals = [step.index + 1 for step in seen], [step.total for step in seen]
    assert done[-1] == totals[-1] and all(now < total for now, total in zip(done[:-1], totals[:-1], strict=True))
    assert max(totals) <= now.steps
    shares = [step.progress for step in seen]
    assert shares == sorted(shares)


def test_the_slowest_image_counts():
    assert steps_to_come([24, 24], [12, 20], 3) == 15  # 4 cells in 3 steps, 20 to go
    assert steps_to_come([24, 0, 7], [0, 0, 0], 2) == 0
    assert steps_to_come([10], [1], 9) == 1
    assert steps_to_come([1, 4], [1, 2], 1) == math.inf


@pytest.mark.parametrize("sampler", [EntropyBounded(bound=0.0), KLASS(confidence=1.0)])
def test_one_cell_waits_for_the_last_step(sampler):
    """At the schedule's pace; a callback is told of all steps."""
    state = partial(torch.arange(24).view(1, *GRID) != 13)
    _, seen = steps_of(state, sampler=sampler, steps=3)
    assert [(step.index, step.total) for step in seen] == [(0, 3), (1, 3), (2, 3)]
