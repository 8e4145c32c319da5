"""Path planning: what is masked again, by the model's own word and by that of a second one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import MaskGIT, MGTError, PathPlanning
from mgt_core.lab.backbone import given, lab_model
from mgt_core.lab.errors import LogitNoise, spoiled
from mgt_core.lab.potts import Potts
from mgt_core.sampling.draws import GeneratorDraws, cpu_generator, inverse_cdf
from support.device import agree
from support.lab import bias, exact, sampled
from support.lab import run as lab_run
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, empty, few, grids_of_bools, partial, run, steps_of
from support.trials import is_sentence

FIELD = Potts((2, 4), codes=4, coupling=0.4, bias=bias(cells=8, codes=4))  # no two cells alike
OTHER = spoiled(FIELD, [LogitNoise(1.0)])
PLANNERS = {"self": None, "second": PIPE.model.with_modifier(mgt_core.TopKTopP(k=5))}
every_planner = pytest.mark.parametrize("planner", PLANNERS.values(), ids=PLANNERS)


def by_hand(truth, counts, seed, eta, planner=None, start=None):
    """Algorithm 1 of the paper, a picture, cell by cell, from tables of logits and the same uniform numbers."""
    draws = GeneratorDraws([cpu_generator(seed)], truth.cells)
    label = torch.zeros(1, dtype=torch.long)
    held = [truth.mask_id] * truth.cells if start is None else list(start)
    for step, left in enumerate(counts):
        table = truth.logits(torch.tensor([held]), label)[0].log_softmax(-1)
        uniform = draws.uniform(torch.device("cpu"))[0]
        new = [int(inverse_cdf(table[i][None], uniform[i][None])) if held[i] == truth.mask_id else held[i]
               for i in range(truth.cells)]  # fmt: skip
        second = table if planner is None else planner.logits(torch.tensor([new]), label)[0].log_softmax(-1)
        score = {}
        for i in range(truth.cells):
            known = held[i] != truth.mask_id
            score[i] = eta * float(second[i, new[i]]) if known else float(table[i, new[i]])
        masked = sorted(score, key=score.get)[:left]
        held = [truth.mask_id if i in masked else new[i] for i in range(truth.cells)]
        if step < len(counts) - 1:
            draws.uniform(torch.device("cpu"))  # of the confidence noise, which is not added here
    return held


@pytest.mark.parametrize("eta", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("planner", [None, OTHER], ids=["self", "second"])
def test_its_formula(eta, planner):
    second = None if planner is None else lab_model(planner)
    sampler = PathPlanning((0.0, 0.0), eta=eta, planner=second)
    counts = mgt_core.SCHEDULES.get("cosine")().counts(5, FIELD.cells)
    found = lab_run(FIELD, 12, steps=5, sampler=sampler, schedule="cosine")
    assert found.tolist() == [by_hand(FIELD, counts, seed, eta, planner) for seed in range(12)]
    plain = lab_run(FIELD, 12, steps=5, sampler=MaskGIT((0.0, 0.0)), schedule="cosine")
    assert eta < 1 or not torch.equal(found, plain)  # which takes nothing back


@every_planner
@pytest.mark.parametrize("state", [None, partial(torch.arange(24).reshape(1, *GRID) % 3 == 0)], ids=["empty", "given"])
def test_eta_0_is_maskgit(planner, state):
    found, seen = steps_of(state, sampler=PathPlanning(eta=0.0, planner=planner))
    assert agree(found.tokens, run(state, sampler=MaskGIT(known_confidence=float("inf"))).tokens)
    assert seen[-1].calls == 5


@every_planner
def test_it_takes_tokens_back_and_counts_what_it_costs(planner):
    """Unless nothing is known yet, or all stays, a second network makes a pass more."""
    found, seen = steps_of(sampler=PathPlanning(planner=planner))
    before = [step.result.tokens for step in seen]
    back = [((a != PIPE.model.mask_id) & (b == PIPE.model.mask_id)).sum() for a, b in zip(before, before[1:])]
    assert sum(back) > 0 and not found.masked.any()
    more = 0 if planner is None else 3
    assert (seen[-1].calls, seen[-1].passes) == (5 + more, 10 + more)


@few
@for_all(grids_of_bools, st.sampled_from([0.0, 0.3, 1.0, 4.0]), st.sampled_from([0.0, 2.0]), st.sampled_from([None, 1]))
def test_counts_follow_the_schedule_and_given_cells_stay(known, eta, temperature, planner):
    state = partial(known)
    sampler = PathPlanning((temperature, 0.0), eta=eta, planner=planner and PLANNERS["second"])
    found, seen = steps_of(state, sampler=sampler)
    assert torch.equal(found.tokens[known], state.tokens[known]) and not found.masked.any()
    plain = steps_of(state, sampler=MaskGIT((0.0, 0.0)))[1]
    assert [int(s.result.masked.sum()) for s in seen] == [int(s.result.masked.sum()) for s in plain]


@every_planner
def test_every_image_of_a_batch_is_its_own(planner):
    known = torch.zeros(3, *GRID, dtype=torch.bool)
    known[1, :2], known[2] = True, torch.arange(24).reshape(GRID) % 2 == 0
    state = partial(known)
    sampler = PathPlanning((1.0, 0.0), planner=planner)
    whole = run(state, sampler=sampler, schedule="cosine").tokens
    for i in range(3):
        one = mgt_core.TokenState(state.tokens[i : i + 1], state.fixed[i : i + 1], state.mask_id, state.codebook_size)
        assert agree(run(one, sampler=sampler, schedule="cosine", seed=7 + i).tokens, whole[i : i + 1])


@every_planner
def test_image_to_image_may_revise_what_it_was_given(planner):
    truth = FIELD
    tokens = exact(truth, 64)
    planner = planner and lab_model(OTHER)
    after = sampled(truth, state=given(truth, tokens, strength=0.5), sampler=PathPlanning(planner=planner), steps=6)
    assert not after.masked.any() and not torch.equal(after.tokens.flatten(1), tokens)


@every_planner
def test_modifiers_see_what_they_see_in_maskgit(planner):
    """Those that look at all cells, remember or draw: the masked cells' rows are theirs, whatever else is scored."""
    for modifier in (mgt_core.DifferentialSampling(), mgt_core.NoiseRegularization(0.5), mgt_core.TopKTopP(k=3)):
        pipe = replace(PIPE, model=PIPE.model.with_modifier(modifier))
        tiny = PathPlanning(eta=1e-12, planner=planner)  # held back by nothing but exact ties
        found = run(pipe=pipe, sampler=tiny)
        assert not found.masked.any() and torch.equal(found.tokens, run(pipe=pipe, sampler=tiny).tokens)


def test_a_planner_of_other_codes_is_refused():
    stranger = lab_model(Potts(codes=3))
    with pytest.raises(MGTError, match="^the planner has 3 codes and 3 for a masked cell, and the model ") as told:
        run(sampler=PathPlanning(planner=stranger))
    assert is_sentence(str(told.value))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"planner": "demo"}, "the planner is str; expected the .model of a loaded bundle"),
        ({"eta": -0.1}, "path planning eta is -0.1; accepted are numbers from 0 to 100"),
        ({"eta": float("nan")}, "path planning eta is nan"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(MGTError) as told:
        PathPlanning(**settings)
    assert str(told.value).startswith(words)


def test_a_planner_that_breaks_is_named(caplog):
    planner = lab_model(spoiled(FIELD, [LogitNoise(1.0)]))
    planner.network.predictor.logits = lambda tokens, labels: torch.full((*tokens.shape, FIELD.codes), torch.nan)
    with pytest.raises(MGTError, match="^the planner's logits of step 2 of 5 are not finite"):
        lab_run(FIELD, 2, steps=5, sampler=PathPlanning(planner=planner))


def test_a_planner_looks_at_the_prompt_alone():
    """Without guidance the negative one is not even needed."""
    settings = {"sampler": PathPlanning(planner=PIPE.model), "steps": 3, "seed": 1}
    found = mgt_core.sample(PIPE.model, empty(), POSITIVE, None, cfg=1.0, **settings)
    assert not found.masked.any()
    with pytest.raises(MGTError, match="which needs a positive condition"):
        mgt_core.sample(PIPE.model, empty(), None, NEGATIVE, cfg=0.0, **settings)
