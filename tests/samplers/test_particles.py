"""Particles: weights, resampling, and what follows a particle that takes another's place."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import BestOf, MGTError, Particles
from mgt_core.samplers.particles import POTENTIALS, ParticleRun, follow, systematic
from mgt_core.samplers.steered import candidate_seed, rows_of
from support.device import agree
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, SAMPLERS, empty, few, partial, run, steps_of
from support.steering import Redness, Told

RED = Redness()
EAGER = Particles(3, reward=RED, every=1, weight=200.0)
NOT_FOLLOWED = ("best_of", "particles", "first_hitting")
INNER = [s for s in SAMPLERS if s not in NOT_FOLLOWED]
weights = st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(lambda w: sum(w) > 1e-3)


def eager(sampler):
    return Particles(3, mgt_core.SAMPLERS.get(sampler)(), RED, every=1, weight=200.0)


class TestSystematic:
    @few
    @given(weights, st.integers(0, 1000))
    def test_places_are_in_proportion(self, values, seed):
        w = torch.tensor(values, dtype=torch.float64)
        w = w / w.sum()
        parents = systematic(w, torch.Generator().manual_seed(seed))
        counts = torch.bincount(parents, minlength=len(w))
        assert len(parents) == len(w) and counts.sum() == len(w)
        assert bool((counts >= (len(w) * w - 1e-9).floor()).all()) and bool(
            (counts <= (len(w) * w + 1e-9).ceil()).all()
        )
        assert all(int(parents[i]) == i for i in range(len(w)) if counts[i])  # in its own place too

    def test_on_average_exactly(self):
        w = torch.tensor([0.05, 0.5, 0.1, 0.35], dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        counts = sum(torch.bincount(systematic(w, generator), minlength=4) for _ in range(4000)) / 4000
        torch.testing.assert_close(counts.double(), 4 * w, atol=0.03, rtol=0)

    def test_even_weights_leave_all_in_place(self):
        for n in range(1, 40):
            even = torch.full((n,), 1 / n, dtype=torch.float64)
            assert systematic(even, torch.Generator().manual_seed(n)).tolist() == list(range(n))

    def test_one_that_has_all_the_weight_takes_all_places(self):
        assert systematic(torch.tensor([0.0, 1.0, 0.0]).double(), torch.Generator()).tolist() == [1, 1, 1]


class TestWeights:
    """Whatever is scored on the way, all potentials together are exp(lambda r) of the finished picture."""

    REWARDS = torch.tensor(
        [[0.2, -0.5], [0.7, 0.1], [0.1, 0.4]], dtype=torch.float64
    )  # of two particles, in three steps

    def by_hand(self, potential):
        """G of every step but the last, as arXiv 2501.06848 has them, and the last one's."""
        r, scale = self.REWARDS, 3.0
        before = torch.cat([torch.zeros(1, 2), r[:-1]])
        on_the_way = {
            "difference": (scale * (r - before)).exp(),
            "max": torch.stack([(scale * r[: k + 1].amax(0)).exp() for k in range(3)]),
            "sum": torch.stack([(scale * r[: k + 1].sum(0)).exp() for k in range(3)]),
        }[potential][:2]
        return [*on_the_way, (scale * r[2]).exp() / on_the_way.prod(0)]

    @pytest.mark.parametrize("potential", POTENTIALS)
    def test_potentials(self, potential):
        zeros = torch.zeros(1, 2, dtype=torch.float64)
        run = ParticleRun.__new__(ParticleRun)
        run.settings = Particles(2, weight=3.0, potential=potential)
        run.log_weight, run.potentials, run.total, run.largest = zeros, zeros, zeros, zeros - torch.inf
        before = zeros
        for k, expected in enumerate(self.by_hand(potential)):
            run.count(self.REWARDS[k][None], POTENTIALS[potential if k < 2 else "difference"])
            torch.testing.assert_close((run.log_weight - before)[0].exp(), expected)
            before = run.log_weight
        torch.testing.assert_close(run.log_weight[0], 3.0 * self.REWARDS[2])

    def test_scored_steps(self):
        chosen = [Particles(every=2), Particles(every=1, start=0.5), Particles(every=3, end=0.5), Particles(start=1.0)]
        assert [[k for k in range(8) if each.scores_after(k, 8)] for each in chosen] == [
            [1, 3, 5],
            [4, 5, 6],
            [2],
            [],
        ]


class TestRuns:
    def test_rewards_that_are_all_alike_move_nothing(self):
        """And where none is better, the first is kept: the plain picture."""
        for sampler in (Particles(3, reward=Told(0.3), every=1), Particles(3, reward=RED, weight=0.0, every=1)):
            best = BestOf(3, reward=sampler.reward)
            assert agree(run(sampler=sampler).tokens, run(sampler=best).tokens)
        assert agree(run(sampler=Particles(3, reward=Told(0.3))).tokens, run().tokens)

    def test_never_scored_it_is_the_best_of_n(self):
        never = Particles(4, reward=RED, start=1.0)
        assert agree(run(sampler=never).tokens, run(sampler=BestOf(4, reward=RED)).tokens)
        assert agree(run(sampler=EAGER, steps=1).tokens, run(sampler=BestOf(3, reward=RED), steps=1).tokens)

    @pytest.mark.parametrize("sampler", INNER)
    def test_every_sampler_goes_on_from_another_particle(self, sampler):
        state = partial(torch.arange(48).reshape(2, *GRID) % torch.tensor([3, 7])[:, None, None] == 0)
        out, seen = steps_of(state, sampler=eager(sampler))
        assert not out.masked.any() and torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])
        assert bool(out.confidence.isfinite().all())
        alone = [run(rows_of(state, slice(i, i + 1)), sampler=eager(sampler), seed=7 + i) for i in range(2)]
        assert all(agree(out.tokens[i], alone[i].tokens[0]) for i in range(2))
        if len(seen) > 1:
            assert seen[-1].calls == 3 * steps_of(state, sampler=sampler)[1][-1].calls

    def test_a_picture_that_promises_more_spreads(self):
        """Greedy to the end: after the first step all go on from the best, which a replay by hand gives."""
        chosen = Particles(3, reward=RED, every=1, weight=1e4)
        moved = []

        class Watched(ParticleRun):
            def take(self, rows):
                before = self.tokens
                super().take(rows)
                moved.append((rows.tolist(), torch.equal(self.tokens, before[rows])))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mgt_core.samplers.particles, "ParticleRun", Watched)
            run(sampler=chosen, steps=4)
        assert len(moved) == 3 and all(right for _, right in moved) and any(rows != [0, 1, 2] for rows, _ in moved)

    @few
    @given(
        n=st.integers(2, 4),
        every=st.integers(1, 3),
        threshold=st.sampled_from([0.0, 0.5, 1.0]),
        potential=st.sampled_from(list(POTENTIALS)),
        pick=st.sampled_from(["best", "drawn"]),
        seed=st.integers(0, 2**64 - 1),
    )
    def test_images_of_a_batch_are_those_alone(self, n, every, threshold, potential, pick, seed):
        settings = {"every": every, "threshold": threshold, "potential": potential, "pick": pick, "weight": 100.0}
        sampler = Particles(n, reward=RED, **settings)
        together = run(empty(batch=2), sampler=sampler, seed=seed, steps=4)
        for i in range(2):
            assert agree(together.tokens[i], run(sampler=sampler, seed=(seed + i) % 2**64, steps=4).tokens[0])

    def test_image_to_image(self):
        image = torch.rand(2, GRID[0] * PIPE.codec.scale, GRID[1] * PIPE.codec.scale, 3, generator=torch.Generator())
        state = mgt_core.encode_image(PIPE.model, PIPE.codec, image, 0.6)
        out = run(state, sampler=EAGER)
        assert not out.masked.any() and out.strength is None
        assert agree(out.tokens[1], run(rows_of(state, slice(1, 2)), sampler=EAGER, seed=8).tokens[0])

    def test_one_drawn_by_weight(self):
        """With one step they are independent, and the pick is drawn by exp(lambda r)."""
        n, scale = 2, 40.0
        drawn = Particles(n, reward=RED, weight=scale, pick="drawn")
        seeds = range(0, 4000, 10)
        candidates = [
            run(seed=[candidate_seed(s, j) for s in seeds], state=empty((2, 2), len(seeds)), steps=1) for j in range(n)
        ]
        rewards = torch.stack([RED.score(PIPE.codec.decode(each), [0]) for each in candidates], 1)
        kept = run(empty((2, 2), len(seeds)), sampler=drawn, seed=list(seeds), steps=1)
        second = (kept.tokens == candidates[1].tokens).flatten(1).all(1).float()
        p = (scale * rewards).softmax(1)[:, 1]
        assert p.std() > 0.05 and abs(float((second - p).sum() / (p * (1 - p)).sum().sqrt())) < 4


class TestMemory:
    @pytest.mark.parametrize("weight", [0.5, 1.0])
    def test_a_second_model_goes_on(self, weight):
        """By itself it changes nothing, and is asked at every step."""
        rescored = replace(PIPE, model=PIPE.model.with_patch(mgt_core.Rescoring(PIPE.model, weight)))
        (plain, once), (out, twice) = (steps_of(empty(batch=2), sampler=EAGER, pipe=pipe) for pipe in (PIPE, rescored))
        assert agree(out.tokens, plain.tokens)
        assert [step.passes for step in twice] == [2 * step.passes for step in once]

    """What is remembered of an image follows its particle, or is forgotten."""

    def test_modifiers(self):
        rows = torch.tensor([1, 1, 0])
        model = PIPE.model.with_modifier(mgt_core.DifferentialSampling())
        memory = model.modifiers[0].begin()
        memory.previous, memory.known = torch.arange(6.0).view(3, 2, 1), torch.arange(6).view(3, 2) % 2 == 0
        memory.previous[1] += 10
        before = memory.previous
        follow(memory, rows)
        assert torch.equal(memory.previous, before[rows]) and memory.known.shape == (3, 2)
        follow(lambda logits, step: logits, rows)

        class InADict:
            def __init__(self):
                self.tables = {"own": torch.arange(3), "of no image": torch.arange(5)}

        follow(memory := InADict(), rows)
        assert memory.tables["own"].tolist() == [1, 1, 0] and memory.tables["of no image"].tolist() == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("name", [*mgt_core.MODIFIERS])
    def test_every_modifier_keeps_what_it_remembers_where_it_can_follow(self, name):
        """In attributes: tensors of images anywhere else would stay behind."""
        acting = mgt_core.MODIFIERS.get(name)().begin()
        step = mgt_core.Step(
            0,
            4,
            torch.zeros(3, 2, 2, dtype=torch.long),
            seeds=(1, 2, 3),
            positions=torch.arange(4).expand(3, -1),
            masked=torch.ones(3, 4, dtype=torch.bool),
        )
        acting(torch.randn(3, 4, 5, generator=torch.Generator()), step)
        inside = [cell.cell_contents for cell in getattr(acting, "__closure__", None) or ()]
        held = itertools.chain.from_iterable(vars(each).values() for each in inside if hasattr(each, "__dict__"))
        assert not any(isinstance(value, torch.Tensor) for value in [*inside, *held])

    @pytest.mark.parametrize(
        "attach",
        [
            lambda model: model.with_token_cache(0.5, every=3),
            lambda model: model.with_step_skipping(3),
            lambda model: model.with_guidance_reuse(3),
            lambda model: model.with_token_merging(0.5),
            lambda model: model.with_modifier(mgt_core.DifferentialSampling()),
        ],
        ids=["cache", "skipping", "reuse", "merging", "differential"],
    )
    def test_images_of_a_batch_are_those_alone(self, attach):
        model = attach(PIPE.model)

        def made(batch, seed):
            settings = {"sampler": EAGER, "steps": 6, "cfg": 3.0, "seed": seed}
            return mgt_core.sample(model, empty(batch=batch), POSITIVE, NEGATIVE, **settings).tokens

        together = made(2, 7)
        assert agree(together[0], made(1, 7)[0]) and agree(together[1], made(1, 8)[0])

    def test_patches_begin_anew_where_particles_are_scored(self):
        """What follows is computed for the tokens that are there: reuse at every other step then reuses nothing."""
        model = PIPE.model.with_guidance_reuse(2)
        settings = {"sampler": EAGER, "steps": 4, "cfg": 3.0, "seed": 7}
        plain, reused = (mgt_core.sample(each, empty(), POSITIVE, NEGATIVE, **settings) for each in (PIPE.model, model))
        assert agree(plain.tokens, reused.tokens)

    def test_a_run_ends_where_one_that_is_done_takes_all_places(self, monkeypatch):
        """A sampler that ends early: particles come to their end at different steps."""
        pace = mgt_core.SAMPLERS.get("entropy_bounded")
        judge = pace.judge

        def uneven(self, run, drawn, watch, noise):
            order, allowed = judge(self, run, drawn, watch, noise)
            return order, torch.tensor([left if row else 1 for row, left in enumerate(run.left)])

        def resample(self, rewards):
            if min(self.left) == 0:
                self.take(torch.full((len(self.left),), self.left.index(0)))

        monkeypatch.setattr(pace, "judge", uneven)
        monkeypatch.setattr(ParticleRun, "resample", resample)
        out, seen = steps_of(sampler=Particles(2, pace(), RED, every=1), steps=6)
        assert not out.masked.any() and len(seen) == 1

    def test_samplers_that_remember(self):
        """Momentum is a modifier of its own, whose tables follow."""
        tables = []

        class Watched(ParticleRun):
            def take(self, rows):
                before = self.modifiers[0].previous
                super().take(rows)
                tables.append(torch.equal(self.modifiers[0].previous, before[rows]))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mgt_core.samplers.particles, "ParticleRun", Watched)
            run(sampler=eager("momentum"))
        assert tables == [True] * 4

    def test_what_cannot_be_followed_is_refused(self):
        class Own(mgt_core.MaskGIT):
            def loop(self, run):
                for index in run.indices:
                    kept = self.surest(run, run.draw(index))
                    run.accept(replace(kept, left=[left + 1 for left in kept.left]))

        for inner, words in (
            (Own(), "Own draws or counts its cells in a way"),
            (BestOf(2), "the sampler best_of, whose runs are made in a way"),
            ("first_hitting", "the sampler first_hitting, whose runs are made in a way"),
        ):
            with pytest.raises(MGTError, match=words):
                run(sampler=Particles(2, inner, RED, every=1))


class TestTelling:
    def test_the_reward_reached_is_told(self):
        out, seen = steps_of(sampler=EAGER)
        reached = float(RED.score(PIPE.codec.decode(out), [0]))
        assert seen[-1].note.startswith(f"reward {reached:.4g}: the best of 3 particles, of which ")
        assert seen[-1].note.endswith(" took another's place") and torch.equal(seen[-1].result.tokens, out.tokens)
        assert [step.index for step in seen] == list(range(5)) and [step.calls for step in seen] == [3, 6, 9, 12, 15]
        assert all(step.tokens.shape == (1, *GRID) == step.result.tokens.shape for step in seen)
