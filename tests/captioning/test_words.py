"""Questions, and what is made of a caption's words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgt_core import MGTError
from mgt_core.captioning.words import FILLERS, question_ids, tidied
from support.muddit import OWN_MUDDIT, muddit


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a cat cat on a a mat", "a cat on a mat"),
        ("a cat. A dog. and then", "a cat. A dog."),
        ("no stop at all", "no stop at all"),
        ("this is such is a cat", "this a cat".replace("this a", "this  a")),
        (" a bird such as a crow ", "a bird  a crow"),
        ("", ""),
        ("Cat cat", "Cat cat"),
    ],
)
def test_tidied(text, told):
    assert tidied(text) == told


@given(st.lists(st.sampled_from(["a", "b", "b.", "cat", "such", "is", "as"]), max_size=12))
def test_what_is_left_is_of_the_text(words):
    told = tidied(" ".join(words))
    assert not any(filler in told.split() for filler in FILLERS)
    assert told == told.strip() and ("." not in told or told.endswith("."))
    left = iter(words)
    assert all(any(word in (each, each.rstrip(".")) for each in left) for word in told.split())


def test_a_question_begins_and_does_not_end():
    text = muddit("1024", OWN_MUDDIT).text
    whole = text.tokenizer("what is it?").input_ids
    assert question_ids(text, "what is it?") == whole[:-1] and question_ids(text, "") == []


def test_a_question_leaves_a_place_for_the_answer():
    text = replace(muddit("1024", OWN_MUDDIT).text, max_length=8)
    words = len(text.tokenizer("what is it?", add_special_tokens=False).input_ids)
    assert len(question_ids(replace(text, max_length=words + 2), "what is it?")) == words + 1
    with pytest.raises(MGTError, match=rf"question has {words} tokens .*accepted are up to 5"):
        question_ids(replace(text, max_length=7), "what is it?")
    with pytest.raises(MGTError, match="question is 3; expected a text"):
        question_ids(text, 3)
