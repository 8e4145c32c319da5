"""Where the words of objects are found in a prompt."""

import pytest

import mgt_core
from mgt_core import MGTError, object_words
from support.device import HERE

TEXT = mgt_core.load("demo", **HERE).text
PROMPT = "a red heart and a hot face on a blue background"


def words_of(prompt: str, rows, **encoded) -> list[str]:
    """The words at some rows of the encoded prompt."""
    ids = {row: token for token, row in TEXT.rows_of(prompt, **encoded)}
    return [TEXT.tokenizer.decode([ids[row] for row in word]).strip() for word in rows]


def test_words_of_each_phrase_are_found_without_articles():
    heart, face = object_words(TEXT, PROMPT, ["a red heart", "the hot face".replace("the", "a")])
    assert words_of(PROMPT, heart) == ["red", "heart"] and words_of(PROMPT, face) == ["hot", "face"]


def test_rows_are_those_of_the_encoded_prompt():
    """States change from the rows of a changed word on, and in none before them (attention is causal)."""
    (heart,) = object_words(TEXT, PROMPT, ["heart"])
    hidden, other = (TEXT.encode([p]).hidden[0] for p in (PROMPT, PROMPT.replace("heart", "house")))
    (row,) = heart[0]
    assert row == next(k for k in range(len(hidden)) if not hidden[k].equal(other[k]))


def test_a_phrase_given_twice_is_found_twice():
    first, second = object_words(TEXT, "a fox and a fox", ["a fox", "a fox"])
    assert first != second


def test_weights_in_the_prompt_do_not_hide_a_phrase():
    prompt = "a (red heart:1.4) and a fox"
    (heart,) = object_words(TEXT, prompt, ["red heart"], weights=True)
    assert words_of(prompt, heart, weights=True) == ["red", "heart"]


def test_later_parts_of_a_long_prompt_are_found_behind_the_first():
    prompt = "a red heart, " * 40 + "a fox"
    ((word,),) = object_words(TEXT, prompt, ["fox"], chunks=True)
    assert word[0] > TEXT.max_length and words_of(prompt, [word], chunks=True) == ["fox"]
    with pytest.raises(MGTError, match="'fox' is not in the prompt"):
        object_words(TEXT, prompt, ["fox"])  # cut off


@pytest.mark.parametrize(
    "phrases, sentence",
    [
        (["a cat"], "the object 'a cat' is not in the prompt 'a red heart and"),
        (["red face"], "the object 'red face' is not in the prompt"),
        (["a"], "the object 'a' has no word; expected a phrase of the prompt such as 'a red fox'"),
        ([""], "the object '' has no word"),
        ("a cat", "objects are 'a cat'; expected some phrases of the prompt"),
        ([3], "expected some phrases of the prompt"),
    ],
)
def test_what_is_not_there_is_told(phrases, sentence):
    with pytest.raises(MGTError, match=sentence):
        object_words(TEXT, PROMPT, phrases)
