"""Prompts between marks, as Show-o and MMaDA read them: what is cut, and where words lie."""

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.conditioning.prompt_ids import Framed
from mgt_core.types import NO_WORD
from support.golden_muse import FAMILIES, muse

TASK, START, END = 900, 901, 902
many = settings(
    max_examples=50, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


@many
@given(st.lists(st.integers(0, 9), max_size=12), st.booleans(), st.integers(1, 9))
def test_marks_stand_around_what_fits(ids, begun, longest):
    """As long as a start and `longest` ids, whichever of the two the text brings."""
    given = [START, *ids] if begun else ids
    found = Framed(TASK)(given, START, END, longest)
    assert found[:2] == [TASK, START] and found[-1] == END and found.count(START) == 1
    assert found[2:-1] == ids[:longest]
    assert Framed(TASK)(found[1:-1], START, END, longest) == found  # a start is not put before another


@pytest.mark.parametrize("family", FAMILIES)
def test_words_of_objects_are_found_where_they_lie(family):
    text = muse(family).text
    prompt = "a fox in the snow and a blue cup"
    text = replace(text, max_length=len(text.tokens(prompt)))
    rows = text.encode(prompt).prompt[0].tolist()
    fox, cup = mgt_core.object_words(text, prompt, ["a fox", "a blue cup"])
    assert (len(fox), len(cup)) == (1, 2)
    held = text.tokenizer
    for word, places in zip(["fox", "blue", "cup"], (*fox, *cup), strict=True):
        assert held.decode([rows[row] for row in places]).strip() == word
    with pytest.raises(mgt_core.MGTError, match="the object 'a cup' is not in the prompt"):
        mgt_core.object_words(replace(text, max_length=4), prompt, ["a cup"])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_out_is_told(family, caplog):
    text = replace(muse(family).text, max_length=3)
    (row,) = text.encode("a fox in the snow").prompt.tolist()
    assert len(row) == 3 + 3 and "the model takes 3, which leaves out" in caplog.text
    both = text.encode(["a fox in the snow", ""]).prompt.tolist()
    assert both[0] == row and both[1][:3] == [NO_WORD] * 3 and both[1][3:] == text.encode("").prompt[0].tolist()
