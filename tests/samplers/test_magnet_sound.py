"""Spans of sound: what is cut off, in all code books, and what may be given."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import MaskGIT, MGTError, Spans
from mgt_core.types import SOUND
from support.golden import OWN
from support.golden_magnet import after_projection
from support.runs import PIPE, few
from support.trials import is_sentence

ARRANGED = [
    Spans(),
    Spans(4, scoring="product"),
    Spans(1),
    Spans(arrangement="overlapping"),
    Spans(9, "overlapping", top_p=1.0),
    Spans(40, "overlapping"),
]
SOUNDS = SimpleNamespace(makes=SOUND)


def test_frames_after_the_last_whole_span_are_cut_off():
    state = mgt_core.empty_state(2, (4, 11), 9, 9)
    state = replace(state, confidence=torch.zeros(state.tokens.shape))
    cut = Spans(3).cut(SOUNDS, state)
    assert cut.grid == (4, 9) and cut.fixed.shape == cut.confidence.shape == cut.tokens.shape
    assert Spans(11).cut(SOUNDS, state).grid == Spans(1).cut(SOUNDS, state).grid == (4, 11)
    assert Spans(3, "overlapping").cut(SOUNDS, state) is state
    assert Spans(3).cut(PIPE.model, state) is state and MaskGIT().cut(SOUNDS, state) is state


def test_a_sound_of_less_than_a_span_is_told():
    with pytest.raises(MGTError) as told:
        Spans(12).cut(SOUNDS, mgt_core.empty_state(1, (4, 11), 9, 9))
    assert str(told.value) == "the sound is 11 frames long and a span 12: make it longer, or the spans shorter"
    assert is_sentence(str(told.value))


@pytest.mark.parametrize("sampler", [Spans(), mgt_core.BestOf(1, Spans()), mgt_core.BestOf(2, Spans())])
def test_a_run_of_all_books_is_cut_with_the_weights_of_its_prompts(sampler):
    model = after_projection(OWN / "audio" / "magnet")
    width = model.network.condition_widths["hidden"]
    words = mgt_core.Condition(hidden=torch.ones(1, 3, width))
    early = (torch.arange(20) < 9).float().expand(1, 4, 20).clone()
    parts = mgt_core.Conditions(
        (mgt_core.ConditionPart(words, early), mgt_core.ConditionPart(replace(words, hidden=-words.hidden), 0.5))
    )
    state = mgt_core.empty_state(2, (4, 20), model.mask_id, model.codebook_size)
    out = mgt_core.sample(model, state, parts, words, sampler=sampler, steps=6)
    assert out.grid == (4, 18) and not out.masked.any() and int(out.revealed_at.max()) == 5


@few
@for_all(
    st.lists(st.booleans(), min_size=44, max_size=44),
    st.sampled_from(ARRANGED),
    st.sampled_from([None, 0.0, 0.3, 1.0]),
    st.integers(4, 9),
)
def test_any_part_of_a_sound_may_be_given(fixed, sampler, strength, steps):
    """As for continuation, a range made anew, and variation."""
    model = after_projection(OWN / "audio" / "magnet")
    width = model.network.condition_widths["hidden"]
    words, none = (mgt_core.Condition(hidden=value * torch.ones(1, 3, width)) for value in (1, 0))
    given_cells = torch.tensor(fixed).reshape(1, 4, 11)
    codes = torch.randint(model.codebook_size, (1, 4, 11), generator=torch.Generator().manual_seed(steps))
    tokens = codes if strength is not None else torch.where(given_cells, codes, model.mask_id)
    state = mgt_core.TokenState(tokens, given_cells, model.mask_id, model.codebook_size, strength=strength)
    out = mgt_core.sample(model, state, words, none, sampler=sampler, steps=steps)
    frames = out.grid[1]
    assert not out.masked.any() and 11 - sampler.span_length < frames <= 11
    assert torch.equal(out.tokens[given_cells[..., :frames]], codes[..., :frames][given_cells[..., :frames]])
    if strength == 0.0:
        assert torch.equal(out.tokens, codes[..., :frames])
