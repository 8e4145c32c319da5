"""PEFT's patterns: what they fit is what Python's regular expressions fit, in a time that no file decides."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.adapters.patterns import ATOMS, LONGEST, MOST, Patterns

PIECES = ["a", "b", "1", ".*", ".+", "a?", "b*", r"\.", r"\d", r"\d+", r"\w", "[ab]", "[^a]+", "[a-c1]"]
PIECES += ["(a|b.)", "(a|(b|1)x)", r"(.*\.)?", r"(?:a|1)?", "a*?", "b??", r"\d{1,2}", "(a|b){2}", "x{,2}"]
UNREAD = [
    "(a+)+$",
    "(a|aa)*",
    "[",
    "(",
    ")",
    "a{3",
    "a{}",
    "a{x}",
    "a{2,}",
    "a{301}",
    "(){999999999}",
    "\u00e9+",
    "\\",
    r"\b",
    "a**",
    "*",
    "(?P<x>a)",
    "(?=a)",
    "[]",
]
LAYERS = st.lists(st.text("ab1x", min_size=1, max_size=3), min_size=1, max_size=4).map(".".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join), LAYERS)
def test_as_python_has_them(pattern, layer):
    try:
        found = Patterns({pattern: 2.0}).get(layer, 1.0)
    except mgt_core.MGTError:
        assert sum(map(pattern.count, ("*", "?", "|", "{"))) > 5  # in more ways than are read
        return
    assert found == (2.0 if re.fullmatch(rf"(.*\.)?({pattern})", layer) else 1.0)


def test_the_first_that_fits_counts():
    patterns = Patterns({"to_q": 1.0, r"blocks\.\d+\..*": 2.0, "to_k": 3.0, "": 4.0})
    layers = ["blocks.3.to_q", "blocks.3.to_k", "to_k", "blocks.x.to_v", "into_q"]
    assert [patterns.get(layer) for layer in layers] == [1.0, 2.0, 3.0, None, None]


def test_ends_are_marked_or_not():
    assert Patterns({"^a$": 2.0}).get("x.a") == 2.0  # files name layers with what is before them


@pytest.mark.parametrize("pattern", UNREAD)
def test_others_are_not_read(pattern):
    with pytest.raises(mgt_core.MGTError, match="the pattern '.*' is not read; known are names"):
        Patterns({pattern: 1.0})


@pytest.mark.parametrize(
    "pattern",
    [
        "a?" * 10,
        "(a|b)" * 10,
        "(a|b){10}",
        "((a{99}){99}){99}",
        "a" * 10**6 + "+",
        "a" * LONGEST + "+",
        "(" * LONGEST + ")" * LONGEST,
    ],
)
def test_nor_those_that_would_take_long(pattern):
    with pytest.raises(mgt_core.MGTError, match=f"up to {LONGEST} characters and {MOST} ways"):
        Patterns({pattern: 1.0})


def test_no_more_of_them_than_can_be_followed():
    started = time.process_time()
    for many in (
        {f"a{number}.*": 1.0 for number in range(100_000)},
        {"(a|b|c)" * 3 + "a" * 250 + f"{n}.": 1.0 for n in range(9)},
    ):
        with pytest.raises(mgt_core.MGTError, match=f"accepted are up to {MOST} of {ATOMS} characters"):
            Patterns(many)
    assert time.process_time() - started < 1
    assert Patterns({f"a{number}": 1.0 for number in range(10_000)}).get("x.a9999") == 1.0


def test_the_worst_takes_a_moment():
    patterns = Patterns({".*a.*a.*a.*a.*b": 1.0, "([^x]*[^y]*[^z]*q|x)": 2.0})
    started = time.process_time()
    for number in range(100):
        patterns.get("a" * (LONGEST - 3) + str(number))
    assert time.process_time() - started < 1


def test_layers_told_one_by_one():
    blocks = "|".join(map(str, range(24)))
    patterns = Patterns({f"transformer_blocks.({blocks}).attn.(to_q|to_k|to_v|to_out.0)": 2.0})
    assert patterns.get("transformer_blocks.23.attn.to_out.0") == 2.0
    assert patterns.get("transformer_blocks.24.attn.to_q") is None


def test_no_more_names_than_can_be_followed(monkeypatch):
    monkeypatch.setattr("mgt_core.adapters.patterns.FOLLOWED", 10)
    patterns = Patterns({"a.*": 1.0})
    assert patterns.get("xb" * 5) is None
    with pytest.raises(mgt_core.MGTError, match="more than 10 characters"):
        patterns.get("a")
