"""What goes along with the stages of a grid: second models, candidates, and what messages say of sounds."""

import pytest
import torch

import mgt_core
from mgt_core import MGTError, Rescoring
from mgt_core.sampling.cost import step_note, time_note
from mgt_core.types import SOUND
from support.device import agree, equal
from support.runs import PIPE
from support.staged import BOOKS, CODES, FRAMES, HOP, RATE, empty, logged, run, staged_model, text
from support.trials import is_sentence

MODEL = staged_model()
PAIR = text(2, seed=1)


def steps_of(*args, **settings):
    seen = []
    return run(*args, callback=seen.append, **settings), seen


def test_a_second_model_follows_the_stages():
    other, asked = logged(staged_model(seed=1))
    own, calls = logged(MODEL)
    out, seen = steps_of(own.with_patch(Rescoring(other, 0.5)), cfg=1.0)
    assert [call.stage for call in asked] == [call.stage for call in calls] and len(asked) == 8
    assert all(equal(a.beside, b.beside) and equal(a.row, b.row) for a, b in zip(asked, calls, strict=True))
    assert seen[-1].calls == 16
    alone = run(MODEL.with_patch(Rescoring(staged_model(seed=1), 1.0)))
    assert agree(alone.tokens, run(staged_model(seed=1)).tokens)
    assert agree(run(MODEL.with_patch(Rescoring(staged_model(seed=1), 0.0))).tokens, run().tokens)
    assert not torch.equal(out.tokens, run(cfg=1.0).tokens)


def test_candidates_of_a_second_model_see_their_own_sounds():
    model = MODEL.with_patch(Rescoring(staged_model(seed=1), 0.5))
    best = mgt_core.BestOf(n=3)
    both = run(model, empty(2), PAIR, sampler=best)
    second = mgt_core.Condition(hidden=PAIR.hidden[1:])
    assert agree(both.tokens[1:], run(model, positive=second, sampler=best, seed=8).tokens)


def test_a_planner_follows_the_stages():
    planner, asked = logged(staged_model(seed=1))
    out = run(sampler=mgt_core.PathPlanning((2.0, 0.0), temperature_shape="linear", planner=planner))
    assert not out.masked.any() and {call.stage for call in asked} >= {0}
    for call in asked:
        assert (call.beside[:, call.stage :] == CODES).all() and not (call.beside[:, : call.stage] == CODES).any()
    assert not torch.equal(out.tokens, run(sampler="path_planning").tokens)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (staged_model(books=2), "the rescorer makes sound of 2 code books, and the model sound of 3 code books"),
        (PIPE.model, "the rescorer has"),
    ],
)
def test_second_models_of_other_books_are_refused(second, words):
    with pytest.raises(MGTError, match=words) as told:
        MODEL.with_patch(Rescoring(second))
    assert is_sentence(str(told.value))


@pytest.mark.parametrize("kind", [mgt_core.BestOf, mgt_core.Particles])
def test_samplers_without_a_reward_act_and_those_with_one_are_refused(kind):
    assert not torch.equal(run(sampler=kind(n=4)).tokens, run().tokens)
    for sampler in (kind(n=2, reward="colour"), mgt_core.BestOf(n=2, sampler=kind(n=2, reward="colour"))):
        with pytest.raises(MGTError, match="a reward, which looks at pictures, and this model makes sound") as told:
            run(sampler=sampler)
        assert is_sentence(str(told.value))


def test_words_count_sounds():
    with pytest.raises(MGTError, match="the condition holds 2 prompts for 3 sounds; give 1 or 3"):
        run(state=empty(3), positive=PAIR)
    with pytest.raises(MGTError, match="there are 2 seeds for 3 sounds"):
        run(state=empty(3), seed=[1, 2])
    with pytest.raises(MGTError, match=r"weights of shape .* for 3 sounds"):
        part = mgt_core.ConditionPart(text(), torch.ones(2, BOOKS, FRAMES))
        run(state=empty(3), positive=mgt_core.Conditions((part,)))


def test_sizes_are_told_in_seconds():
    assert MODEL.makes == SOUND and MODEL.told_size((BOOKS, FRAMES)) == f"{FRAMES * HOP / RATE:.4g} s"
    assert MODEL.size_note((BOOKS, FRAMES)) is None and MODEL.size_note((BOOKS, FRAMES // 2)) is None
    assert "1.8 s: trained at 0.9 s" in MODEL.size_note((BOOKS, 2 * FRAMES))
    long = empty(frames=40 * FRAMES)
    note = step_note(MODEL, long, text(), text(), [2.0])
    assert note.startswith("a step at 36 s takes about") and note.endswith("times as long as at 0.9 s")
    assert step_note(MODEL, empty(), text(), text(), [2.0]) is None
    assert time_note(PIPE.model, mgt_core.empty_tokens(PIPE, 32, 32)) is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda: MODEL.grid_for(64, 64),
    ],
)
def test_what_is_for_pictures_says_so(ask):
    with pytest.raises(MGTError, match="this model makes sound, not pictures") as told:
        ask()
    assert is_sentence(str(told.value))
