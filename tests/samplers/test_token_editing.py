"""Token editing: which tokens give way, to which, and by whose word."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core import MGTError, TokenEditing, TopKTopP
from mgt_core.lab.errors import LogitNoise, spoiled
from mgt_core.lab.potts import Potts
from mgt_core.samplers.token_editing import Judged, judge
from mgt_core.sampling.step import Kept
from mgt_core.types import Step
from support.lab import FIELD, bias, sampled
from support.lab import run as lab_run
from support.runs import PIPE, POSITIVE, empty, few, grids_of_bools, partial, run, steps_of

both_views = pytest.mark.parametrize("view", ["masked", "in place"])


def edited(step):
    """Cells that were known before a step and hold another token after it."""
    return (step.tokens != step.result.mask_id) & (step.tokens != step.result.tokens)


class TestRule:
    """By hand: cell 0 holds code 1 at p 0.2, where code 0 has 0.7; cell 1 holds its surest; cell 2 is not asked."""

    LOGITS = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]]]).log() + 5
    HELD = torch.tensor([[1, 2, 1]])

    def judged(self):
        step = Step(index=0, total=1, tokens=self.HELD[:, None], positions=torch.arange(3)[None])
        return Judged(*judge(self.LOGITS, step, self.HELD))

    def test_what_is_judged_by(self):
        found = self.judged()
        assert found.best.tolist() == [[0, 2, 0]]
        torch.testing.assert_close(found.log_best.exp(), torch.tensor([[0.7, 0.8, 0.6]]))
        torch.testing.assert_close(found.log_now.exp(), torch.tensor([[0.2, 0.8, 0.3]]))

    @pytest.mark.parametrize(
        ("rule", "threshold", "gives_way"),
        [
            ("probability", 0.69, True),
            ("probability", 0.71, False),
            ("margin", 0.49, True),
            ("margin", 0.51, False),
        ],
    )
    def test_what_gives_way(self, rule, threshold, gives_way):
        nothing = torch.zeros(1, 3, dtype=torch.bool)
        kept = Kept(0, self.HELD, [0], nothing, torch.zeros(1, 3))
        asked = torch.tensor([[True, True, False]])
        found = TokenEditing(threshold=threshold, rule=rule).replaced(kept, self.judged(), asked, self.HELD)
        assert found.tokens.tolist() == [[0 if gives_way else 1, 2, 1]]
        assert found.kept.tolist() == [[gives_way, False, False]]
        assert found.log_probability[0, 0] == pytest.approx(torch.tensor(0.7).log().item() if gives_way else 0)


@both_views
def test_a_threshold_that_nothing_reaches_is_maskgit(view):
    """By the whole of its way: what it is asked and how, not that it is left out."""
    sampler = TokenEditing(threshold=0.999999, view=view, looked_at=0.5)
    if view == "in place":
        assert torch.equal(run(sampler=sampler).tokens, run().tokens)
        assert torch.equal(lab_run(FIELD, 64, sampler=sampler, steps=4), lab_run(FIELD, 64, steps=4))
    else:  # which cells it looks at is drawn, so that the first step alone is the same
        ours, plain = steps_of(sampler=sampler)[1], steps_of()[1]
        assert torch.equal(ours[0].result.tokens, plain[0].result.tokens)
        assert not any(edited(step).any() for step in ours)


@few
@given(st.integers(1, 5), st.floats(0, 1), st.sampled_from(["masked", "in place"]), grids_of_bools)
def test_counts_are_maskgits(steps, threshold, view, known):
    if known.all():
        return
    state = partial(known)
    _, plain = steps_of(state, steps=steps, cfg=1.0)
    out, seen = steps_of(state, sampler=TokenEditing(threshold=threshold, view=view), steps=steps, cfg=1.0)
    assert [int(s.result.masked.sum()) for s in seen] == [int(s.result.masked.sum()) for s in plain]
    assert torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])


def test_in_place_it_heeds_the_network_that_drew():
    """Known tokens are the surest codes afterwards, where the network is surer of these than the threshold."""
    sampler = TokenEditing(threshold=0.02, view="in place")
    _, seen = steps_of(empty(batch=4), sampler=sampler, cfg=1.0)
    step = seen[3]
    shares = PIPE.model.logits(step.tokens, POSITIVE, 1).softmax(-1).cpu()
    top, best = shares.max(-1)
    known = (step.tokens != step.result.mask_id).cpu()
    wanted = torch.where((top > 0.02) & known, best, step.tokens.cpu())
    assert torch.equal(step.result.tokens.cpu()[known], wanted[known]) and edited(step).any()


def test_masked_it_asks_of_cells_that_it_cannot_see():
    """All known cells at once, after the last step: each gets the surest code of a blank canvas."""
    sampler = TokenEditing(threshold=0.0, looked_at=1.0, start=0.8)
    out = run(sampler=sampler, cfg=1.0)
    blank = PIPE.model.logits(empty().tokens, POSITIVE, 0).argmax(-1).cpu()
    assert torch.equal(out.tokens.cpu(), blank)


@pytest.mark.parametrize(("view", "calls"), [("masked", [1, 2, 4, 6, 7]), ("in place", [1, 2, 3, 4, 5])])
def test_calls_and_where_it_acts(view, calls):
    sampler = TokenEditing(threshold=0.0, view=view, start=0.4, end=0.8)
    _, seen = steps_of(sampler=sampler, cfg=1.0)
    assert [step.calls for step in seen] == calls
    assert [bool(edited(step).any()) for step in seen] == [False, False, True, True, False]


def test_how_many_it_looks_at():
    """With threshold 0 all whose surest code is another one: a quarter of those known at the most."""
    sampler = TokenEditing(threshold=0.0, looked_at=0.25)
    _, seen = steps_of(empty(batch=16), sampler=sampler, cfg=1.0)
    for step in seen:
        known = (~step.result.masked).flatten(1).sum(1)
        assert bool((edited(step).flatten(1).sum(1) <= (known * 0.25).long().clamp_min(1)).all())


def test_what_it_edits_is_noted():
    _, seen = steps_of(empty(batch=4), sampler=TokenEditing(threshold=0.0, view="in place"), cfg=1.0)
    changed = edited(seen[2])
    assert bool((seen[2].result.revealed_at[changed] == 2).all())
    assert bool((seen[2].result.confidence[changed] > seen[2].result.confidence[~changed].min()).all())


@both_views
def test_slips_of_the_draw_are_mended(view):
    """A field in which neighbours agree: drawn in few steps by a model that errs, fewer of them disagree."""
    truth = Potts(coupling=1.5, bias=0.1 * bias())
    model = spoiled(truth, [LogitNoise(0.5)])

    def likely(sampler):
        tokens = lab_run(model, 2000, sampler=sampler, steps=4)
        return float(truth.log_probability(tokens, torch.zeros(2000, dtype=torch.long)).mean())

    assert likely(TokenEditing(threshold=0.8, view=view)) > likely("maskgit") + 0.2


def test_modifiers_do_not_judge():
    """Top-1 makes every code sure of itself; by the network's own word nothing is."""

    def greedy(sampler):
        return sampled(FIELD, 16, sampler=sampler, steps=4, patched=lambda model: model.with_modifier(TopKTopP(k=1)))

    sampler = TokenEditing((0.0, 0.0), threshold=0.9999, view="in place")
    plain = greedy(TokenEditing((0.0, 0.0), threshold=1.0))
    assert torch.equal(greedy(sampler).tokens, plain.tokens)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 2}, "editing threshold is 2; accepted are numbers from 0 to 1"),
        ({"rule": "any"}, "rule is 'any'; accepted are probability, margin"),
        ({"view": "blind"}, "view is 'blind'; accepted are masked, in place"),
        ({"looked_at": -1}, "share looked at is -1"),
        ({"start": 0.9, "end": 0.1}, "editing starts at 0.9 and ends at 0.1"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(MGTError) as told:
        TokenEditing(**values)
    assert str(told.value).startswith(message)
