"""The Gibbs corrector: what it redraws, that it leaves the truth's law as it is, and that it comes nearer to it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core import GibbsCorrector, MGTError, TopKTopP
from mgt_core.lab.backbone import given as pictures
from mgt_core.lab.measures import distance
from support.lab import FIELD, HOT, LEVEL, SMALL, SURE, exact, marginals, p_of, product, sampled
from support.lab import run as lab_run
from support.runs import GRID, empty, few, grids_of_bools, partial, run, steps_of

ONE = {"temperature": HOT, "portion": 0.0}
small = pytest.mark.parametrize("name", SMALL)


def given_for_good(state, out):
    return torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])


@few
@given(st.integers(1, 6), st.floats(0, 1), st.sampled_from(["chance", "doubtful"]), grids_of_bools)
def test_counts_are_maskgits(steps, portion, pick, known):
    """After every step as many cells are masked; and what was given stays."""
    if known.all():
        return
    state = partial(known)
    _, plain = steps_of(state, steps=steps, cfg=1.0)
    out, seen = steps_of(state, sampler=GibbsCorrector(portion=portion, pick=pick, sweeps=2), steps=steps, cfg=1.0)
    assert [int(s.result.masked.sum()) for s in seen] == [int(s.result.masked.sum()) for s in plain]
    assert given_for_good(state, out)


def test_where_a_step_leaves_no_known_cell():
    """With more steps than cells nothing is redrawn at first; and beside an image with more cells the same is drawn."""
    known = torch.arange(24).view(1, *GRID) != 13
    alone, beside = partial(known), partial(torch.cat([known, ~known]))
    settings = {"sampler": GibbsCorrector(sweeps=2), "steps": 4, "cfg": 1.0}
    seeds = {run(alone, seed=seed, **settings).tokens[0, 2, 1].item() for seed in range(8)}
    assert len(seeds) > 1
    assert all(
        torch.equal(run(beside, seed=s, **settings).tokens[0], run(alone, seed=s, **settings).tokens[0])
        for s in range(8)
    )


def redrawn(step):
    """Cells that were known before a step and hold another token after it."""
    return (step.tokens != step.result.mask_id) & (step.tokens != step.result.tokens)


@pytest.mark.parametrize(("portion", "most"), [(0.0, 1), (0.25, 6)])
def test_as_many_cells_as_asked_for(portion, most):
    _, seen = steps_of(empty(batch=16), sampler=GibbsCorrector(portion=portion), cfg=1.0)
    changed = torch.stack([redrawn(step).flatten(1).sum(1) for step in seen])
    assert int(changed.max()) <= most and int(changed.sum()) > 0
    if most == 1:
        assert int(changed.max()) == 1


def test_a_call_a_sweep_and_where_it_acts():
    sampler = GibbsCorrector(sweeps=3, start=0.4, end=0.8)  # steps 2 and 3 of 5
    _, seen = steps_of(sampler=sampler, cfg=1.0)
    assert [step.calls for step in seen] == [1, 2, 6, 10, 11]
    assert [bool(redrawn(step).any()) for step in steps_of(empty(batch=16), sampler=sampler, cfg=1.0)[1]] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_the_doubtful_are_picked_more_often():
    """By the log-probability that they were drawn with."""

    def surprise_of_redrawn(pick):
        sampler = GibbsCorrector((0.0, 0.0), portion=0.2, pick=pick, start=0.6, end=0.8)
        _, seen = steps_of(empty(batch=200), sampler=sampler, cfg=1.0)
        return float(seen[2].result.confidence[redrawn(seen[3])].mean())

    assert surprise_of_redrawn("doubtful") < surprise_of_redrawn("chance") - 0.05


@small
def test_one_cell_at_a_time_is_exact(name):
    """Steps of one cell in any order, and a sweep of Gibbs sampling after each."""
    assert p_of(SMALL[name], lab_run(SMALL[name], 2000, sampler=GibbsCorrector(**ONE, sweeps=2))) > LEVEL


@small
def test_pictures_of_the_truth_stay_such(name):
    """At any mask level: from there on one by one, corrected on the way."""
    truth, tokens = SMALL[name], exact(SMALL[name], 2000)
    state = pictures(truth, tokens, strength=0.6)
    after = lab_run(truth, state=state, sampler=GibbsCorrector(**ONE, sweeps=2), schedule="linear")
    assert not torch.equal(after, tokens) and p_of(truth, after) > LEVEL


def test_given_cells_are_heeded():
    free, tokens = torch.arange(9) % 2 == 0, exact(FIELD)
    state = pictures(FIELD, tokens, free)
    after = lab_run(FIELD, state=state, sampler=GibbsCorrector(**ONE, sweeps=2), steps=5)
    assert torch.equal(after[:, ~free], tokens[:, ~free]) and p_of(FIELD, after) > LEVEL


def test_sweeps_mend_what_was_drawn_together():
    """In one step all cells are drawn alone; Gibbs sampling then leads to the truth."""
    found = [lab_run(FIELD, 2000, sampler=GibbsCorrector(**ONE, sweeps=sweeps), steps=1) for sweeps in (0, 9, 45)]
    excess = [distance(FIELD, tokens).excess for tokens in found]
    assert excess[1] < 0.6 * excess[0] and p_of(FIELD, found[2]) > LEVEL


def test_the_law_of_one_sweep():
    """By sums over all grids: one of the nine cells of a product of marginals, drawn anew from its conditional."""
    grids = FIELD.every_grid()
    start, truth = product(FIELD, marginals(FIELD)), FIELD.probabilities(0)
    after = torch.zeros_like(start)
    for cell in range(9):
        rest = FIELD.number_of(grids.masked_fill(torch.arange(9) == cell, 0))
        alone = torch.zeros_like(start).scatter_add_(0, rest, start)[rest]
        whole = torch.zeros_like(start).scatter_add_(0, rest, truth)[rest]
        after += alone * truth / whole / 9
    found = lab_run(FIELD, sampler=GibbsCorrector(**ONE), steps=1)
    assert p_of(FIELD, found, after) > LEVEL and p_of(FIELD, found, start) < SURE


def test_several_together_are_not_exact():
    """All known cells at once forget each other: the same test tells it."""
    sampler = GibbsCorrector(HOT, portion=1.0)
    assert p_of(FIELD, lab_run(FIELD, sampler=sampler)) < SURE


def test_picking_the_doubtful_is_not_exact():
    assert p_of(FIELD, lab_run(FIELD, 3000, sampler=GibbsCorrector(**ONE, sweeps=3, pick="doubtful"))) < SURE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sweeps": -1}, "sweeps is -1; accepted are whole numbers from 0 to 100"),
        ({"portion": 2}, "corrected portion is 2; accepted are numbers from 0 to 1"),
        ({"pick": "any"}, "pick is 'any'; accepted are chance, doubtful"),
        ({"start": 0.9, "end": 0.1}, "the corrector starts at 0.9 and ends at 0.1"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(MGTError) as told:
        GibbsCorrector(**values)
    assert str(told.value).startswith(message)


def test_modifiers_act_on_what_is_redrawn():
    """With top-1 there is one code to draw for every cell, whatever the seed."""

    def greedy(seed):
        sampler = GibbsCorrector((0.0, 0.0), portion=0.0, sweeps=3)
        return sampled(FIELD, 4, sampler=sampler, patched=lambda m: m.with_modifier(TopKTopP(k=1)), seed=seed).tokens

    assert torch.equal(greedy(0), greedy(50)) and run(sampler=GibbsCorrector()).tokens.shape == (1, 4, 6)
