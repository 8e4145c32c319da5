"""ReMDM: how many cells it masks again and reveals, which, and what of the truth it keeps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import FixedOrder, MGTError, ReMDM
from mgt_core.lab.backbone import given as pictures
from mgt_core.lab.measures import distance
from mgt_core.lab.potts import Potts
from mgt_core.samplers.remdm import STRATEGIES, Looped, binomial
from mgt_core.schedules.base import schedule_from
from support.lab import FIELD, HOT, LEVEL, SURE, bias, exact, p_of
from support.lab import run as lab_run
from support.runs import GRID, empty, few, grids_of_bools, partial, run, steps_of

LINEAR = schedule_from("linear")
ALONE = Potts(coupling=0.0, bias=bias())  # cells are independent: what is drawn together is drawn right


def masked_counts(seen):
    return torch.stack([step.result.masked.flatten(1).sum(1) for step in seen], 1)


class TestNumbers:
    def test_sigma(self):
        """By hand: 60 cells are to be masked of 100, 50 are known: sigma_max = min(1, 60 / 50); with 30, 0.6."""
        found = {name: [s.sigma(0.5, most, 50) for most in (1.0, 0.6, 0.3)] for name, s in STRATEGIES.items()}
        assert found["rescale"] == found["rescale_conf"] == [0.5, 0.3, 0.15]
        assert found["cap"] == [0.5, 0.5, 0.3]
        assert found["conf"] == [0.5 / 50, 0.3 / 50, 0.15 / 50]

    @pytest.mark.parametrize("strategy", ["rescale", "cap", "rescale_conf"])
    def test_the_share_of_masked_cells_is_the_schedules(self, strategy):
        """The law of the forward process, whatever sigma: each cell is masked with the chance 1 - alpha."""
        cells = 24
        _, seen = steps_of(
            empty(batch=300), sampler=ReMDM(eta=0.5, strategy=strategy), steps=6, schedule="linear", cfg=1.0
        )
        for target, masked in zip(LINEAR.targets(6, cells), masked_counts(seen).double().T, strict=True):
            chance = target / cells
            error = math.sqrt(cells * chance * (1 - chance) / 300) or 1e-9
            assert abs(float(masked.mean()) - target) < 4.5 * error
            if 0 < target:  # and as spread as independent cells
                assert 0.7 < float(masked.var()) / (cells * chance * (1 - chance)) < 1.35

    def test_how_many_come_back(self):
        """eta sigma_max of the known cells, with sigma_max 18 / 3 and so 1, 9 / 12, 6 / 15, 3 / 18."""
        _, seen = steps_of(empty(batch=300), sampler=ReMDM(eta=0.5), steps=8, schedule="linear", cfg=1.0)
        wanted = {1: 0.5, 4: 0.5 * 9 / 12, 5: 0.5 * 6 / 15, 6: 0.5 * 3 / 18}
        for index, sigma in wanted.items():
            known = seen[index].tokens != seen[index].result.mask_id
            back = float((known & seen[index].result.masked).sum() / known.sum())
            assert abs(back - sigma) < 4.5 * math.sqrt(sigma * (1 - sigma) / int(known.sum()))

    def test_conf_takes_back_one_cell_in_the_mean_of_all_its_steps(self):
        """softmax(-psi) sums to 1, whatever eta 1 is spread over."""
        _, seen = steps_of(
            empty(batch=300), sampler=ReMDM(eta=1.0, strategy="conf"), steps=6, schedule="linear", cfg=1.0
        )
        known = seen[2].tokens != seen[2].result.mask_id
        back = (known & seen[2].result.masked).flatten(1).sum(1).double()
        assert abs(float(back.mean()) - 1) < 4.5 / 17

    @few
    @given(st.integers(2, 12), st.floats(0, 1), st.sampled_from(list(STRATEGIES)), grids_of_bools)
    def test_the_schedules_counts(self, steps, eta, strategy, known):
        """As many are masked as it says, one at least before the last step; and what was given stays."""
        state = partial(known)
        sampler = ReMDM(HOT, eta=max(eta, 0.01), strategy=strategy, counts="schedule")
        if known.all():
            return
        out, seen = steps_of(state, sampler=sampler, steps=steps, cfg=1.0, schedule="linear")
        total = int((~known).sum())
        wanted = [max(1, target) for target in LINEAR.targets(steps, total)[:-1]]
        assert masked_counts(seen)[0].tolist() == [*wanted, 0]
        assert torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])

    def test_parts_of_a_cell_are_put_off(self):
        """24 known cells and sigma 1/16: three cells in two steps, in turn 1 and 2."""
        due, sampler = [0.0], ReMDM(eta=1 / 16, strategy="cap", counts="schedule")
        run = type("Run", (), {"left": [24], "totals": [48], "targets": [[24] * 4], "steps": 5})
        found = [sampler.by_schedule(run, index, 0, due) for index in range(4)]
        assert found == [(23, 1), (22, 2), (23, 1), (22, 2)]

    def test_the_binomial_law(self):
        generator = torch.Generator().manual_seed(0)
        counts = torch.bincount(torch.tensor([binomial(4, 0.3, 9, generator) for _ in range(4000)]), minlength=5)
        law = torch.tensor([math.comb(4, k) * 0.3**k * 0.7 ** (4 - k) for k in range(5)])
        assert float((counts / 4000 - law).abs().max()) < 0.03
        assert binomial(4, 0.0, 9, generator) == 0 and binomial(4, 1.0, 9, generator) == 4


class TestWhich:
    def test_conf_takes_back_the_doubtful(self):
        """What it was surer of is masked again more seldom."""
        sampler = ReMDM(eta=0.5, strategy="rescale_conf")
        _, seen = steps_of(empty(batch=300), sampler=sampler, steps=4, schedule="linear", cfg=1.0)
        step, before = seen[2], seen[1].result
        known = step.tokens != step.result.mask_id
        psi = before.confidence.exp()
        back = known & step.result.masked
        assert float(psi[back].mean()) < float(psi[known & ~back].mean())

    def test_outside_its_part_of_the_run_nothing_comes_back(self):
        sampler = ReMDM(eta=1.0, start=0.5, end=0.75)
        _, seen = steps_of(empty(batch=8), sampler=sampler, steps=8, cfg=1.0)
        for step in seen:
            back = (step.tokens != step.result.mask_id) & step.result.masked
            assert bool(back.any()) == (4 <= step.index < 6)

    def test_surest_is_maskgits_order(self):
        """Cold, of the cells that were masked those are kept whose draws are the likeliest."""
        sampler = ReMDM((0.0, 0.0), eta=0.5, reveal="surest", counts="schedule")
        plain = steps_of(sampler=mgt_core.MaskGIT((0.0, 0.0)), cfg=1.0)[1][0]
        ours = steps_of(sampler=sampler, cfg=1.0)[1][0]  # nothing is known to be masked again in the first step
        assert torch.equal(ours.result.tokens, plain.result.tokens)


class TestLoop:
    def test_with_the_linear_schedule_it_is_as_released(self):
        """alpha = r alpha_on / start, alpha_on, then 1 - (1 - r) (1 - alpha_on) / (1 - end)."""
        progress = torch.arange(1, 20) / 20
        alpha = [r * 0.8 / 0.4 if r < 0.4 else 0.8 if r <= 0.7 else 1 - (1 - r) * 0.2 / 0.3 for r in progress.tolist()]
        found = 1 - Looped(LINEAR, 0.4, 0.7, 0.8).ratio(progress)
        torch.testing.assert_close(found, torch.tensor(alpha), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("schedule", mgt_core.list_schedules())
    @pytest.mark.parametrize(("start", "end"), [(0.01, 0.99), (0.3, 0.3), (0.25, 0.9)])
    def test_any_schedule_falls_and_stays(self, schedule, start, end):
        looped = Looped(schedule_from(schedule), start, end, 0.75).for_tokens(256)
        ratios = looped.ratio(torch.linspace(0, 1, 41))
        assert ratios[0] == 1 and ratios[-1] == 0 and bool((ratios.diff() <= 1e-6).all())
        inside = looped.ratio(torch.tensor([start + 0.01, end - 0.01]))
        if end - start > 0.1:
            torch.testing.assert_close(inside, torch.full((2,), 0.25))

    def test_a_run_stays_there(self):
        sampler = ReMDM(eta=0.1, strategy="cap", pace="loop", loop_known=0.75, start=0.3, end=0.8, counts="schedule")
        counts = masked_counts(steps_of(sampler=sampler, steps=20, schedule="cosine", cfg=1.0)[1])[0].tolist()
        assert counts[6:16] == [6] * 10 and counts[:6] == sorted(counts[:6], reverse=True) and counts[-1] == 0


class TestTruth:
    @pytest.mark.parametrize("strategy", ["rescale", "cap"])
    @pytest.mark.parametrize("counts", ["random", "schedule"])
    def test_independent_cells_keep_their_law(self, strategy, counts):
        """Whatever comes back and however many are drawn at once."""
        sampler = ReMDM(eta=0.5, strategy=strategy, counts=counts)
        assert p_of(ALONE, lab_run(ALONE, 2000, sampler=sampler, steps=6)) > LEVEL

    @pytest.mark.parametrize("cells", [1.0, 0.5])
    def test_a_loop_of_single_cells_is_exact(self, cells):
        """One a step is revealed, and in the loop one, or half a one, masked again."""
        sampler = ReMDM(
            eta=cells / 6, strategy="cap", counts="schedule", pace="loop", loop_known=0.66, start=0.3, end=0.85
        )
        assert p_of(FIELD, lab_run(FIELD, 2000, sampler=sampler, steps=20, schedule="linear")) > LEVEL

    def test_pictures_of_the_truth_stay_such(self):
        """Image to image from the loop's level on."""
        sampler = ReMDM(eta=1 / 6, strategy="cap", counts="schedule", pace="loop", loop_known=0.66, start=0.3, end=0.85)
        tokens = exact(FIELD, 2000)
        after = lab_run(
            FIELD, state=pictures(FIELD, tokens, strength=0.6), sampler=sampler, steps=20, schedule="linear"
        )
        assert not torch.equal(after, tokens) and p_of(FIELD, after) > LEVEL

    def test_without_remasking_it_is_the_random_order(self):
        """The law of eta 0: cells in any order, one by one with as many steps."""
        assert p_of(FIELD, lab_run(FIELD, sampler=ReMDM(HOT, eta=0.0, reveal="surest", counts="schedule"))) > LEVEL

    def test_in_many_steps_it_mends_what_was_drawn_together(self):
        """Of the same number of calls the random order, in which nothing comes back, cannot make use."""
        few_steps = lab_run(FIELD, 2000, sampler=FixedOrder("random", counts="schedule"), steps=2, schedule="linear")
        sampler = ReMDM(eta=0.5, pace="loop", loop_known=0.5, start=0.05, end=0.95, counts="schedule")
        many = lab_run(FIELD, 2000, sampler=sampler, steps=20, schedule="linear")
        assert distance(FIELD, many).excess < 0.5 * distance(FIELD, few_steps).excess

    def test_taking_back_by_confidence_is_not_exact(self):
        """Unlikely codes are drawn again: likely ones win, and the same test tells it."""
        looped = {"pace": "loop", "loop_known": 0.66, "start": 0.1, "end": 0.9}
        sampler = ReMDM(eta=0.3, strategy="rescale_conf", counts="schedule", **looped)
        assert p_of(ALONE, lab_run(ALONE, 4000, sampler=sampler, steps=30)) < SURE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eta": 1.5}, "eta is 1.5; accepted are numbers from 0 to 1"),
        ({"strategy": "loop"}, "strategy is 'loop'; accepted are rescale, cap, conf, rescale_conf"),
        ({"loop_known": -1}, "known share of the loop is -1"),
        ({"start": 0.9, "end": 0.1}, "remasking starts at 0.9 and ends at 0.1"),
        ({"pace": "loop"}, "the loop starts at 0 and ends at 1; it needs a part of the run before and one after it"),
        ({"counts": "exact"}, "counts is 'exact'; accepted are random, schedule"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(MGTError) as told:
        ReMDM(**values)
    assert str(told.value).startswith(message)


def test_many_more_steps_than_cells():
    """With random counts a step may have nothing to reveal, and one cell at least waits for the last."""
    known = torch.arange(24).reshape(1, *GRID) != 5
    out, seen = steps_of(partial(known), sampler=ReMDM(eta=0.3), steps=12)
    assert not out.masked.any() and all(int(step.result.masked.sum()) == 1 for step in seen[:-1])
    assert torch.equal(run(partial(known), sampler=ReMDM(eta=0.3), steps=12).tokens, out.tokens)
