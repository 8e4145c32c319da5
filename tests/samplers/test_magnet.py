"""Spans: what is kept and masked again as one, on pictures, whatever is given."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import SAMPLERS, MaskGIT, MGTError, Spans, TopKTopP
from mgt_core.lab.backbone import given
from mgt_core.lab.potts import Potts
from mgt_core.samplers.spans import nucleus, spans_taken, union_of_spans
from mgt_core.sampling.draws import GeneratorDraws, cpu_generator, inverse_cdf
from support.device import agree
from support.golden import Spy
from support.lab import bias, exact, sampled
from support.lab import run as lab_run
from support.runs import GRID, PIPE, POSITIVE, empty, few, grids_of_bools, partial, run, steps_of

FIELD = Potts((2, 4), codes=4, coupling=0.4, bias=bias(cells=8, codes=4))  # no two cells alike
ARRANGED = {
    "apart": Spans(),
    "apart, product": Spans(4, scoring="product"),
    "apart, long": Spans(7, top_p=1.0, annealed=False, temperature=1.0),
    "overlapping": Spans(arrangement="overlapping"),
    "overlapping, long": Spans(9, "overlapping", top_p=1.0),
    "single": Spans(1),
    "longer than the grid": Spans(40),
    "overlapping, longer than the grid": Spans(40, "overlapping"),
}
every_arrangement = pytest.mark.parametrize("sampler", ARRANGED.values(), ids=ARRANGED)
any_arrangement = st.sampled_from(list(ARRANGED.values()))
any_schedule = st.sampled_from(["magnet", "cosine", "linear", "root"])
MASK = PIPE.model.mask_id


class WithoutNoise(GeneratorDraws):
    """Draws whose noise takes no random numbers."""

    def gumbel(self, step):
        return torch.zeros(len(self.generators), self.cells)


def held(cells, length):
    """[B, n] bool, spans one after the other that hold any of `cells` [B, N] bool."""
    return torch.stack([part.any(1) for part in cells.split(length, dim=1)], dim=1)


def open_after(seen, length):
    """[T, B, n] the same of what is masked after every step of a run."""
    return torch.stack([held(step.result.masked.flatten(1), length) for step in seen])


class TestIdentity:
    @pytest.mark.parametrize("arrangement", ["nonoverlapping", "overlapping"])
    @pytest.mark.parametrize("schedule", ["cosine", "linear", "magnet"])
    def test_of_single_cells_it_is_maskgit_without_noise(self, arrangement, schedule):
        """Wherever the schedule reveals a cell at every step, which MaskGIT does at the least."""
        own = Spans(1, arrangement, temperature=1.0, annealed=False, top_p=1.0, draws=WithoutNoise)
        plain = MaskGIT((0.0, 0.0), draws=WithoutNoise)
        ours, wanted = (run(empty(batch=3), sampler=s, schedule=schedule) for s in (own, plain))
        assert agree(ours.tokens, wanted.tokens) and agree(ours.revealed_at, wanted.revealed_at)
        assert agree(ours.confidence, wanted.confidence)

    @every_arrangement
    def test_where_all_is_given_nothing_changes(self, sampler):
        state = partial(torch.ones(1, *GRID, dtype=torch.bool))
        assert torch.equal(run(state, sampler=sampler).tokens, state.tokens)


class TestFormula:
    @pytest.mark.parametrize("scoring", ["max", "product"])
    @pytest.mark.parametrize("schedule", ["magnet", "cosine"])
    def test_cell_by_cell(self, scoring, schedule):
        """Spans of three of eight cells, the last one of two, from tables of logits and the same uniform numbers."""
        sampler = Spans(3, scoring=scoring, temperature=2.0, top_p=0.7)
        found = lab_run(FIELD, 12, steps=4, sampler=sampler, schedule=schedule)
        assert found.tolist() == [self.by_hand(seed, scoring, schedule) for seed in range(12)]

    @staticmethod
    def by_hand(seed, scoring, schedule):
        draws = GeneratorDraws([cpu_generator(seed)], 8)
        spans, tokens = [[0, 1, 2], [3, 4, 5], [6, 7]], [FIELD.mask_id] * 8
        targets = mgt_core.SCHEDULES.get(schedule)().targets(4, 3)
        for step in range(4):
            logits = FIELD.logits(torch.tensor([tokens]), torch.zeros(1, dtype=torch.long))[0]
            logits = logits / max(2.0 * (3 - step) / 4, 0.01)
            chances, uniform = logits.softmax(-1), draws.uniform(torch.device("cpu"))[0]
            masked = [cell for cell in range(8) if tokens[cell] == FIELD.mask_id]
            for cell in masked:
                order = sorted(range(4), key=lambda code, row=chances[cell]: -row[code])
                kept, total = [], 0.0
                for code in order:
                    kept += [code] if total <= 0.7 else []
                    total += float(chances[cell, code])
                cut = torch.tensor([float(logits[cell, c]) if c in kept else -torch.inf for c in range(4)])
                tokens[cell] = int(inverse_cdf(cut[None], uniform[cell][None]))
            q = {cell: float(chances[cell, tokens[cell]]) for cell in masked}
            sure = {"max": max, "product": math.prod}[scoring]
            among = sorted((sure(q[c] for c in span), span) for span in spans if span[0] in masked)
            again = [span for _, span in among[: max(targets[step], 1) if step < 3 else 0]]
            for cell in (cell for span in again for cell in span):
                tokens[cell] = FIELD.mask_id
        return tokens

    def test_modifiers_see_what_is_drawn_from(self):
        spies = [Spy(), Spy()]
        for spy, temperature in zip(spies, (1.0, 4.0), strict=True):
            pipe = replace(PIPE, model=PIPE.model.with_modifier(spy))
            run(pipe=pipe, sampler=Spans(temperature=temperature, annealed=False), steps=1)
        torch.testing.assert_close(*(spy.seen["logits"] * t for spy, t in zip(spies, (1.0, 4.0), strict=True)))

    def test_the_temperature_falls_to_almost_nothing(self):
        assert Spans().softness(4) == [2.25, 1.5, 0.75, 0.01]
        assert Spans(annealed=False).softness(2) == [3.0, 3.0] and Spans(temperature=0.0).softness(1) == [0.01]

    def test_scores_count_what_modifiers_leave(self):
        """Of a single code each: all spans are as sure, and the first of them are masked again."""
        pipe = replace(PIPE, model=PIPE.model.with_modifier(TopKTopP(k=1)))
        _, seen = steps_of(pipe=pipe, sampler=Spans(), schedule="linear")
        assert open_after(seen, 3).int().flatten(1).tolist() == [
            [1] * left + [0] * (8 - left) for left in mgt_core.SCHEDULES.get("linear")().counts(5, 8)
        ]

    def test_the_likeliest_ids_have_no_seed(self):
        first, second = (run(sampler=Spans(greedy=True), seed=seed).tokens for seed in (1, 2))
        assert agree(first, second)
        assert not torch.equal(run(sampler=Spans(), seed=1).tokens, run(sampler=Spans(), seed=2).tokens)


class TestSpans:
    @few
    @for_all(
        st.lists(st.floats(0, 40, width=32), min_size=1, max_size=30, unique=True),
        st.integers(2, 6),
        st.integers(1, 30),
        st.integers(0, 30),
    )
    def test_the_union_is_that_of_the_first_so_many(self, scores, length, target, settled):
        """As a slow search over sets of cells finds it."""
        cells = len(scores)
        target, scores = min(target, cells), [-1e4 if i < settled else score for i, score in enumerate(scores)]
        row = torch.tensor(scores)
        size = min(length, cells)
        sums = row.unfold(0, size, 1).sum(-1).tolist()
        order = sorted(range(len(sums)), key=lambda span: -sums[span])

        def union(spans):
            return {cell for span in order[:spans] for cell in range(span, span + size)}

        wanted = max(target, size)
        low, high = wanted // size, wanted - size + 1
        middle = found = round((low + high) / 2)
        while low < middle < high:
            found = middle
            low, high = (low, middle) if len(union(middle)) > wanted else (middle, high)
            middle = round((low + high) / 2)
        ours = union_of_spans(row[None], length, [target])[0]
        assert set(ours.nonzero()[:, 0].tolist()) == union(found) and int(ours.sum()) >= size
        assert not union_of_spans(row[None], length, [0]).any()

    @few
    @for_all(st.integers(1, 200), st.integers(2, 9), st.integers(1, 60))
    def test_no_more_spans_are_taken_than_there_are(self, target, length, each):
        most = max(target - length + 1, 1)
        assert 1 <= spans_taken(lambda spans: min(spans * each, target + 5), target, length, most) <= most

    @few
    @for_all(st.lists(st.floats(-30, 30), min_size=2, max_size=12), st.floats(0, 1))
    def test_the_nucleus_holds_what_it_says(self, logits, p):
        row = torch.tensor(logits)
        kept = nucleus(row, p).isfinite()
        chances = row.softmax(-1)
        assert kept[chances.argmax()] and float(chances[kept].sum()) >= p - 1e-5
        if not kept.all():
            assert chances[kept].min() >= chances[~kept].max()
        smallest = float(chances[kept].min())
        assert float(chances[kept & (chances > smallest)].sum()) <= p + 1e-5


class TestRuns:
    @few
    @for_all(grids_of_bools, any_arrangement, any_schedule, st.integers(1, 9))
    def test_spans_follow_the_schedule_and_what_is_given_stays(self, known, sampler, schedule, steps):
        state = partial(known)
        out, seen = steps_of(state, sampler=sampler, schedule=schedule, steps=steps)
        assert torch.equal(out.tokens[known], state.tokens[known]) and not out.masked.any()
        if known.all():
            return
        length, free = sampler.span_length, ~known.flatten(1)
        if sampler.arrangement == "overlapping" and length > 1:
            assert all(step.result.masked.any() for step in seen[:-1])  # something is left to every step
            return
        spans = held(free, length)
        targets = mgt_core.SCHEDULES.get(schedule)().targets(steps, int(spans.sum()))
        after = open_after(seen, length)
        assert after.sum((1, 2)).tolist() == [max(target, 1) for target in targets[:-1]] + [0]
        whole = [spans, *after]
        assert all(bool((later <= before).all()) for before, later in zip(whole, whole[1:]))
        for step, still in zip(seen, after, strict=True):  # whole spans, but for what is given
            cells = still.repeat_interleave(length, 1)[:, : free.shape[1]] & free
            assert torch.equal(step.result.masked.flatten(1), cells)

    @few
    @for_all(grids_of_bools, grids_of_bools, any_arrangement, st.integers(0, 2**64 - 1))
    def test_every_image_of_a_batch_is_its_own(self, first, second, sampler, seed):
        state = partial(torch.cat([first, second]))
        chosen = {"sampler": sampler, "schedule": "cosine"}
        together = run(state, **chosen, seed=seed)
        for i in range(2):
            alone = replace(state, tokens=state.tokens[i : i + 1], fixed=state.fixed[i : i + 1])
            assert agree(run(alone, **chosen, seed=(seed + i) % 2**64).tokens, together.tokens[i : i + 1])

    def test_merging_of_known_tokens_sees_each_image_by_itself(self):
        """Of an image that is all masked beside one that is given in part."""
        known = torch.zeros(2, *GRID, dtype=torch.bool)
        known[1, 0, :2] = True
        state = partial(known)
        pipe = replace(PIPE, model=PIPE.model.with_token_merging(0.7, blocks="all", known_only=True))
        chosen = {"pipe": pipe, "sampler": Spans(), "schedule": "cosine"}
        together = run(state, **chosen).tokens
        for i in range(2):
            alone = replace(state, tokens=state.tokens[i : i + 1], fixed=state.fixed[i : i + 1])
            assert agree(run(alone, **chosen, seed=7 + i).tokens, together[i : i + 1])

    def test_overlapping_spans_take_tokens_back(self):
        """Seldom: where few spans are left that hold masked cells alone."""
        sampler = Spans(5, "overlapping", temperature=1.0, annealed=False)
        out, seen = steps_of(empty(batch=8), sampler=sampler, schedule="cosine", steps=12)
        back = [(step.tokens != MASK) & step.result.masked for step in seen]
        assert sum(int(cells.sum()) for cells in back) > 0 and SAMPLERS.get("magnet").takes_back
        again = torch.stack(back).any(0)
        first = torch.stack([step.result.masked for step in seen]).int().argmin(0)  # known since, for the first time
        assert bool((out.revealed_at[again] > first[again]).all())

    @every_arrangement
    def test_image_to_image_begins_with_whole_spans_at_random(self, sampler):
        tokens = partial(torch.ones(3, *GRID, dtype=torch.bool))
        state = replace(tokens, fixed=torch.zeros_like(tokens.fixed), strength=0.6)
        out, seen = steps_of(state, sampler=sampler, schedule="cosine", steps=10)
        masked = seen[0].tokens.flatten(1) == MASK
        assert len(seen) == 6 and not out.masked.any() and masked.any(1).all()
        assert torch.equal(seen[0].tokens[~masked.unflatten(1, GRID)], state.tokens[~masked.unflatten(1, GRID)])
        length, units = sampler.span_length, -(-24 // sampler.span_length)
        if sampler.arrangement == "nonoverlapping":
            left = max(mgt_core.SCHEDULES.get("cosine")().targets(10, units)[3], 1)
            assert held(masked, length).sum(1).tolist() == [left] * 3
            assert torch.equal(held(masked, length), ~held(~masked, length))
        if units > 3:
            assert not torch.equal(*masked[:2]) or not torch.equal(*masked[1:])  # each image's by its own seed

    def test_what_image_to_image_keeps_is_as_sure_as_before(self):
        state = run(empty(batch=3), sampler="magnet")
        out = run(replace(state, strength=0.5), sampler="magnet", seed=50)
        kept = out.revealed_at < 0
        assert 0 < int(kept.sum()) < kept.numel() and bool((state.confidence[kept] < 0).any())
        assert torch.equal(out.confidence[kept], state.confidence[kept])

    def test_what_is_masked_already_comes_first_in_image_to_image(self):
        cells = torch.zeros(1, *GRID, dtype=torch.bool)
        cells[0, 1, 1] = True
        state = replace(partial(~cells, fixed=torch.zeros_like(cells)), strength=0.2)
        _, seen = steps_of(state, sampler=Spans(), schedule="cosine", steps=10)
        masked = seen[0].tokens[0] == MASK
        assert len(seen) == 2 and masked[1, 1] and masked.flatten()[6:9].all()

    def test_repainting_follows_the_truth_of_a_laboratory(self):
        tokens = exact(FIELD, 64)
        after = sampled(FIELD, state=given(FIELD, tokens, strength=0.5), sampler=Spans(2), steps=6)
        assert not after.masked.any() and not torch.equal(after.tokens.flatten(1), tokens)

    def test_a_chain_is_a_grid_too(self):
        chain = Potts((1, 10), codes=3, coupling=0.8)
        for sampler in ARRANGED.values():
            assert int(lab_run(chain, 5, steps=4, sampler=sampler).max()) < 3

    def test_confidence_is_the_log_probability_at_the_temperature(self):
        out, seen = steps_of(sampler=Spans(temperature=2.0, annealed=False), cfg=1.0)
        logits = PIPE.model.logits(seen[-1].tokens, POSITIVE, 0)
        expected = (logits / 2).log_softmax(-1).gather(-1, out.tokens.to(logits.device)[..., None])[..., 0].cpu()
        last = out.revealed_at == 4
        assert last.any()
        torch.testing.assert_close(out.confidence[last], expected[last], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"span_length": 0}, "span_length is 0; accepted are whole numbers from 1 to 4096"),
        ({"arrangement": "stride1"}, "arrangement is 'stride1'; accepted are nonoverlapping, overlapping"),
        ({"scoring": "prod"}, "scoring is 'prod'; accepted are max, product"),
        ({"temperature": -1}, "temperature is -1; accepted are numbers from 0 to 1000"),
        ({"temperature": (2.0, 0.0)}, "temperature is (2.0, 0.0); accepted are numbers"),
        ({"top_p": 1.1}, "top-p is 1.1; accepted are numbers from 0 to 1"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(MGTError) as told:
        Spans(**settings)
    assert str(told.value).startswith(words)


def test_it_goes_by_its_name():
    assert run(sampler="magnet", span_length=2).tokens.shape == (1, *GRID)
    assert SAMPLERS.name_of(Spans) == "magnet"
