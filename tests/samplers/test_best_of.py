"""Best of n: the runs that there would be alone, and of each image the one that the reward likes best."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import BestOf, MaskGIT, MGTError, Particles
from mgt_core.sample import settle
from mgt_core.samplers.steered import Judge, candidate_seed, derived_seed, each_repeated, joined, rows_of
from mgt_core.types import SOUND
from support.device import HERE, agree
from support.families import FAMILIES, blank, conditions
from support.runs import GRID, PIPE, POSITIVE, condition, empty, few, partial, run, steps_of
from support.steering import Redness, Told

RED = Redness()
BEST = BestOf(3, reward=RED)


def alone(candidate, **settings):
    return run(seed=candidate_seed(7, candidate), **settings)


class TestCandidates:
    def test_the_first_has_the_seed_of_the_image(self):
        assert candidate_seed(7, 0) == 7 and len({candidate_seed(s, j) for s in range(50) for j in range(50)}) == 2500
        assert candidate_seed(7, 3) == derived_seed(7, "candidate 3") < 2**32

    @pytest.mark.parametrize("sampler", [s for s in mgt_core.SAMPLERS if s not in ("best_of", "particles")])
    def test_they_are_the_pictures_of_their_seeds_and_the_best_is_kept(self, sampler):
        pictures = [alone(j, sampler=sampler) for j in range(3)]
        rewards = torch.cat([RED.score(PIPE.codec.decode(each), [0]) for each in pictures])
        kept = run(sampler=BestOf(3, mgt_core.SAMPLERS.get(sampler)(), RED))
        assert agree(kept.tokens, pictures[int(rewards.argmax())].tokens)
        assert agree(kept.revealed_at, pictures[int(rewards.argmax())].revealed_at)

    @pytest.mark.parametrize("at_once", [1, 2, 3, 100])
    def test_how_many_run_together_does_not_matter(self, at_once):
        together = run(empty(batch=2), sampler=BestOf(5, reward=RED))
        assert agree(run(empty(batch=2), sampler=BestOf(5, reward=RED, at_once=at_once)).tokens, together.tokens)

    def test_as_many_run_together_as_have_room(self, monkeypatch):
        sizes = []
        monkeypatch.setattr(
            mgt_core.samplers.best_of.memory, "step_bytes", lambda model, state, *others: 100 * state.batch
        )
        task_run = mgt_core.samplers.steered.Task.run
        monkeypatch.setattr(
            mgt_core.samplers.steered.Task, "run", lambda t, *a: (sizes.append(t.state.batch), task_run(t, *a))[1]
        )
        for free, expected in ((399, [3, 2]), (10, [1] * 5), (None, [5])):
            room = replace(PIPE.model.room(), total=None, free=free)
            monkeypatch.setattr(mgt_core.MGTModel, "room", lambda model, room=room: room)
            sizes.clear()
            run(sampler=BestOf(5, MaskGIT(), Told(0.0)), steps=1)
            assert sizes == expected

    def test_a_larger_n_only_adds_candidates(self):
        found = [float(RED.score(PIPE.codec.decode(run(sampler=BestOf(n, reward=RED))), [0])) for n in (1, 2, 4, 8)]
        assert found == sorted(found) and found[0] < found[-1]

    def test_of_equal_ones_the_first(self):
        for at_once in (0, 1):
            assert agree(run(sampler=BestOf(3, reward=Told(1.0), at_once=at_once)).tokens, run().tokens)

    @few
    @given(n=st.integers(2, 4), seed=st.integers(0, 2**64 - 1), known=st.integers(1, 23), at_once=st.integers(0, 3))
    def test_images_of_a_batch_are_those_alone(self, n, seed, known, at_once):
        state = partial(torch.arange(48).reshape(2, *GRID) % 24 < torch.tensor([known, 1])[:, None, None])
        sampler = BestOf(n, reward=RED, at_once=at_once)
        together = run(state, condition(seed=3, batch=2), sampler=sampler, seed=seed, steps=2)
        for i in range(2):
            positive = mgt_core.Condition(
                hidden=condition(seed=3, batch=2).hidden[i : i + 1], pooled=condition(seed=3, batch=2).pooled[i : i + 1]
            )
            one = rows_of(state, slice(i, i + 1))
            single = run(one, positive, sampler=sampler, seed=(seed + i) % 2**64, steps=2)
            assert agree(together.tokens[i], single.tokens[0])
            assert torch.equal(together.tokens[i][~state.masked[i]], state.tokens[i][~state.masked[i]])


class TestOneCandidate:
    @pytest.mark.parametrize("kind", [BestOf, Particles])
    @pytest.mark.parametrize("sampler", [s for s in mgt_core.SAMPLERS if s not in ("best_of", "particles")])
    def test_is_the_wrapped_sampler(self, kind, sampler):
        """To the token, and to the callback; and nothing is decoded."""
        inner, reward = mgt_core.SAMPLERS.get(sampler)(), Redness()
        (own, seen), (plain, expected) = (steps_of(sampler=each) for each in (kind(1, inner, reward), inner))
        assert torch.equal(own.tokens, plain.tokens) and torch.equal(own.confidence, plain.confidence)
        assert [(s.index, s.total, s.calls, s.note) for s in seen] == [
            (s.index, s.total, s.calls, "") for s in expected
        ]
        assert not reward.seen

    def test_unwired_it_is_what_the_model_recommends(self):
        model = replace(PIPE.model, defaults={"sampler": "halton", "sampler_settings": {"order": "raster"}})
        state, settings = empty(), {"steps": 3, "cfg": 1.0, "seed": 2}
        own, plain = (
            mgt_core.sample(model, state, POSITIVE, sampler=sampler, **settings).tokens for sampler in (BestOf(1), None)
        )
        assert torch.equal(own, plain)


class TestReward:
    def test_without_one_the_surest_is_kept(self):
        pictures = [alone(j) for j in range(4)]
        sureness = torch.stack([each.confidence.mean() for each in pictures])
        assert agree(run(sampler=BestOf(4)).tokens, pictures[int(sureness.argmax())].tokens)

    def test_it_is_told_which_image_a_candidate_is_of(self):
        reward = Redness()
        run(empty(batch=2), sampler=BestOf(3, reward=reward, at_once=2))
        assert reward.seen == [[0, 0, 1, 1], [0, 1]]

    @pytest.mark.parametrize(
        "values, words", [(float("nan"), "the reward gave nan"), (torch.zeros(1, 3), "gave shape"), (1e999, "gave inf")]
    )
    def test_what_is_no_number_is_refused(self, values, words):
        class Odd(Told):
            def score(self, pictures, images):
                return torch.as_tensor(values).expand(len(pictures)) if not isinstance(values, torch.Tensor) else values

        for sampler in (BestOf(3, reward=Odd()), Particles(3, reward=Odd())):
            with pytest.raises(MGTError, match=f"{words}.*; expected a finite number for each$"):
                run(sampler=sampler)

    def test_a_model_without_a_codec(self):
        model = replace(PIPE.model, codec=None)
        for sampler in (BestOf(2, reward=RED), Particles(2, reward=RED)):
            with pytest.raises(MGTError, match="this model has no codec with it"):
                mgt_core.sample(model, empty(), POSITIVE, sampler=sampler, cfg=1.0, steps=2)
            mgt_core.sample(model, empty(), POSITIVE, sampler=replace(sampler, reward=None), cfg=1.0, steps=2)

    @pytest.mark.parametrize("kind", [BestOf, Particles])
    @pytest.mark.parametrize(
        "settings, words",
        [
            ({"n": 0}, "n is 0; accepted are whole numbers from 1 to 1024"),
            ({"sampler": 3}, "sampler is 3; expected a sampler, such as"),
            ({"sampler": "none"}, "sampler is 'none'"),
            ({"reward": "none"}, "reward is 'none'"),
            ({"reward": MaskGIT()}, "reward is MaskGIT.*; expected a reward"),
        ],
    )
    def test_bad_settings(self, kind, settings, words):
        with pytest.raises(MGTError, match=words):
            kind(**settings)

    def test_names_will_do(self):
        assert BestOf(2, "halton").sampler == mgt_core.FixedOrder()


class TestTelling:
    def test_the_reward_reached_is_told(self, caplog):
        caplog.set_level("INFO")
        out, seen = steps_of(empty(batch=2), sampler=BEST)
        plain = run(empty(batch=2))
        reached, first = (
            [f"{r:.4g}" for r in RED.score(PIPE.codec.decode(each), [0, 1]).tolist()] for each in (out, plain)
        )
        note = f"reward {', '.join(reached)}: the best of 3, where the first has {', '.join(first)}"
        assert [step.note for step in seen] == ["", "", "", "", note]
        assert f"{note}; 6 pictures scored in" in caplog.text

    @pytest.mark.parametrize("at_once, runs", [(0, 1), (1, 3), (2, 2)])
    def test_a_callback_sees_the_best_so_far_and_all_calls(self, at_once, runs):
        out, seen = steps_of(sampler=replace(BEST, at_once=at_once))
        assert [step.index for step in seen] == list(range(5 * runs)) and {step.total for step in seen} == {5 * runs}
        assert seen[-1].calls == 15 and seen[-1].passes == 30
        assert [step.calls for step in seen] == sorted(step.calls for step in seen)
        assert torch.equal(seen[-1].result.tokens, out.tokens) and all(len(s.seeds) == 1 for s in seen)
        rewards = [float(RED.score(PIPE.codec.decode(s.result), [0])) for s in seen if not s.result.masked.any()]
        assert rewards == sorted(rewards)  # finished ones

    def test_what_acts_is_in_the_settings(self):
        told = settle(PIPE.model, empty(), sampler=BEST).values()["sampler"]
        assert told.startswith("BestOf(n=3, sampler=MaskGIT(temperature=(2.0, 0.0)") and "reward=Redness()" in told


def test_best_of_particles_are_populations_one_after_the_other():
    inner = Particles(2, reward=RED, every=1, weight=100.0)
    both = [run(sampler=inner, seed=candidate_seed(7, j, inside=1)) for j in range(2)]
    rewards = torch.cat([RED.score(PIPE.codec.decode(each), [0]) for each in both])
    out, seen = steps_of(sampler=BestOf(2, inner, RED, at_once=1))
    assert agree(out.tokens, both[int(rewards.argmax())].tokens)
    assert seen[-1].calls == 4 * 5


def test_conditions_are_repeated_with_their_tables():
    table = torch.arange(48.0).reshape(2, *GRID)
    parts = (
        mgt_core.ConditionPart(condition(batch=2), table, 0.1, 0.5),
        mgt_core.ConditionPart(condition(batch=2), table[:1]),
        mgt_core.ConditionPart(condition(batch=2), 2.0),
    )
    own = each_repeated(mgt_core.Conditions(parts), 3)
    assert torch.equal(own.parts[0].weight, table[[0, 0, 0, 1, 1, 1]]) and own.parts[0].end == 0.5
    assert torch.equal(own.parts[1].weight, table[:1]) and own.parts[2].weight == 2.0
    assert torch.equal(own.parts[0].condition.hidden, parts[0].condition.hidden[[0, 0, 0, 1, 1, 1]])
    assert each_repeated(None, 3) is None


def test_states_are_joined_and_picked():
    both = run(empty(batch=2))
    again = joined(rows_of(both, slice(0, 1)), rows_of(both, torch.tensor([1])))
    assert torch.equal(again.tokens, both.tokens) and torch.equal(again.confidence, both.confidence)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [BestOf, Particles])
def test_every_family_with_its_codec(tmp_path, family, kind):
    pipe = mgt_core.load(FAMILIES[family](tmp_path / family), **HERE)
    positive, negative = conditions(pipe)
    state, settings = blank(pipe), {"steps": 4, "cfg": 2.0, "seed": 0}
    if pipe.model.makes == SOUND:
        with pytest.raises(MGTError, match="a reward, which looks at pictures, and this model makes sound"):
            mgt_core.sample(pipe.model, state, positive, negative, sampler=kind(4, reward=RED), **settings)
        return
    plain = mgt_core.sample(pipe.model, state, positive, negative, **settings)
    kept = mgt_core.sample(pipe.model, state, positive, negative, sampler=kind(4, reward=RED), **settings)
    own, without = (RED.score(pipe.codec.decode(each), [0, 1]) for each in (kept, plain))
    assert bool((own >= without).all()) or kind is Particles
    assert not kept.masked.any()


def test_judging_is_counted():
    judge = Judge(PIPE.model, None)
    judge(torch.zeros(3, 2, 2, dtype=torch.long), torch.zeros(3), [0, 0, 0])
    assert judge.scored == 3 and judge.cost().startswith("3 pictures scored in 0.0")


@pytest.mark.parametrize("inner", [BestOf(3), Particles(3, weight=0.0, every=100)])
def test_candidates_of_candidates_have_seeds_of_their_own(inner):
    judged = []

    def number(picture, image):
        judged.append(picture.numpy().tobytes())
        return 0.0

    reward = mgt_core.REWARDS.get("measured")(number)
    run(sampler=BestOf(3, replace(inner, reward=reward), RED, at_once=1))
    assert len(judged) == len(set(judged)) == 9


def test_room_is_for_all_particles(monkeypatch):
    room = replace(PIPE.model.room(), total=None, free=450)
    monkeypatch.setattr(mgt_core.MGTModel, "room", lambda model: room)
    monkeypatch.setattr(mgt_core.samplers.best_of.memory, "step_bytes", lambda model, state, *o: 100 * state.batch)
    task = mgt_core.samplers.steered.Task(PIPE.model, empty(), POSITIVE, None, None, 2, 1.0, (7,))
    assert [BestOf(9, inner).fitting(task) for inner in (None, Particles(2), BestOf(2, Particles(4)))] == [4, 2, 1]


@pytest.mark.parametrize("values", [None, "red", [None] * 3])
def test_what_is_no_tensor_is_one_sentence(values):
    class Odd(Told):
        def score(self, pictures, images):
            return self.values

    reward = Odd(values)
    for each in (reward, mgt_core.REWARDS.get("weighted_sum")(((reward, 1.0),))):
        with pytest.raises(MGTError, match="gave .*; expected a tensor with a number for each picture"):
            run(sampler=BestOf(3, reward=each), steps=1)


def test_progress_goes_forward_where_runs_end_early():
    sampler = BestOf(3, mgt_core.SAMPLERS.get("entropy_bounded")(5.0), RED, at_once=1)
    _, seen = steps_of(sampler=sampler, steps=24)
    assert [step.index for step in seen] == list(range(len(seen)))
    assert seen[-1].index + 1 == seen[-1].total < 3 * 24
