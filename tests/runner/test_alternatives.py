"""{a|b} and comments in prompts, as the front end resolves them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import alternatives
from runner.alternatives import DEEPEST, Draws, without_comments
from runner.problems import WorkflowError
from support.queued import TEXTS

SIGNS = st.lists(st.sampled_from(["{", "}", "|", "\\", "/", "//", "/*", "*/", "\n", "a", "b c", "{x|y}"]), max_size=30)


def resolved(text, number=0, key="1.text"):
    return Draws(number).resolved(text, key, "text of Node 1")


@pytest.mark.parametrize("text, wanted", TEXTS.items())
def test_texts(text, wanted):
    assert resolved(text) == wanted


def test_a_sign_escaped_at_the_very_end_stays():
    assert resolved("a\\") == "a\\"


def test_every_alternative_is_drawn_by_some_number():
    drawn = {resolved("{a|b|{c|d}|}", number) for number in range(60)}
    assert drawn == {"a", "b", "c", "d", ""}


def test_one_number_draws_the_same_again():
    text = "{a|b|c}" * 20
    assert len({resolved(text, 5) for _ in range(3)}) == 1
    assert resolved(text, 5) != resolved(text, 6)


def test_another_widget_draws_for_itself():
    text = "{a|b|c}" * 20
    assert resolved(text, key="1.text") != resolved(text, key="2.text")


def test_a_comment_that_nothing_closes_is_none():
    assert without_comments("a /* b // c\nd /* e") == "a /* b \nd /* e"


@given(SIGNS.map("".join))
@settings(max_examples=200, deadline=None)
def test_texts_without_signs_stay_and_the_others_end(text):
    made = resolved(text)
    assert len(made) <= len(text) and resolved(text) == made
    plain = made.translate(dict.fromkeys(map(ord, "{}|\\/"), " "))
    assert resolved(plain) == plain


def test_alternatives_too_deep_in_each_other_are_refused():
    assert resolved("{" * DEEPEST + "a" + "}" * DEEPEST) == "a"
    with pytest.raises(WorkflowError, match=f"text of Node 1 holds alternatives .* more than {DEEPEST} deep"):
        resolved("{" * (DEEPEST + 1) + "a")


def test_work_is_bounded(monkeypatch):
    monkeypatch.setattr(alternatives, "MOST_SIGNS", 1000)
    draws = Draws()
    draws.resolved("|" * 1000, "1.text", "text of Node 1")
    with pytest.raises(WorkflowError, match="up to text of Node 2, its texts hold more than"):
        draws.resolved("|", "2.text", "text of Node 2")


def test_many_comments_take_no_time():
    assert len(without_comments("/* " * 500_000)) == 1_500_000
