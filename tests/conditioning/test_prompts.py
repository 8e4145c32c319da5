"""Prompts with weights and prompts longer than the encoder takes."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mgt_core.conditioning.prompts import chunked, parse_weights
from support.device import DEVICE, agree
from support.golden import bundles, pipeline

TEXT = pipeline(bundles()[0]).text
few = settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])

# With numbers, what ComfyUI's own parser makes of them (comfy/sd1_clip.py, token_weights).
CASES = {
    "a cat": [("a cat", 1.0)],
    "a (red) cat": [("a (red) cat", 1.0)],
    "((red))": [("((red))", 1.0)],
    "a (big (red:1.2)) cat": [("a (big ", 1.0), ("red", 1.2), (") cat", 1.0)],
    "a (red:1.3) cat": [("a ", 1.0), ("red", 1.3), (" cat", 1.0)],
    "((red:1.5))": [("(", 1.0), ("red", 1.5), (")", 1.0)],
    "((red) cat:1.5)": [("(red) cat", 1.5)],
    "((red:0.5) cat:2)": [("red", 0.5), (" cat", 2.0)],
    "(red:blue)": [("(red:blue)", 1.0)],
    "(red: 1.2 )": [("red", 1.2)],
    "(a:b:1.2)": [("a:b", 1.2)],
    "(:1.2)": [("(:1.2)", 1.0)],
    "(red:-1)": [("red", -1.0)],
    r"a \(red\) cat": [("a (red) cat", 1.0)],
    r"(a \(b\):1.2)": [("a (b)", 1.2)],
    "()": [("()", 1.0)],
    "": [],
    # Parentheses without a partner are text, where ComfyUI loses its count.
    "smile :) and (red:1.2)": [("smile :) and ", 1.0), ("red", 1.2)],
    "a (red": [("a (red", 1.0)],
    "(a (red:1.2)": [("(a ", 1.0), ("red", 1.2)],
    "(red:nan)": [("(red:nan)", 1.0)],
}


@pytest.mark.parametrize("text", CASES)
def test_weights_are_read_as_comfyui_reads_them(text):
    pieces = parse_weights(text)
    assert [words for words, _ in pieces] == [words for words, _ in CASES[text]]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in CASES[text]])


@few
@given(st.text(alphabet="ab ():.\\12", max_size=40))
def test_no_text_is_lost(text):
    """Without parentheses, numbers and backslashes, what is left is what was written."""
    kept = "".join(words for words, _ in parse_weights(text))
    for letter in "ab":
        assert kept.count(letter) == text.count(letter)
    assert all(math.isfinite(weight) for _, weight in parse_weights(text))


def test_deep_nesting_is_no_problem():
    first, (words, weight), last = parse_weights("(" * 2000 + "a:2" + ")" * 2000)
    assert words == "a" and weight == 2
    assert first == ("(" * 1999, 1.0) and last == (")" * 1999, 1.0)


@few
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(8, 20))
def test_chunks_hold_all_tokens_in_order(lengths, room):
    pieces = [[(100 * i + j, 1.0) for j in range(length)] for i, length in enumerate(lengths)]
    chunks = chunked(pieces, room)
    assert [token for chunk in chunks for token in chunk] == [token for piece in pieces for token in piece]
    assert all(len(chunk) <= room for chunk in chunks)
    for piece in pieces:
        if 0 < len(piece) < 8:  # a short piece is not torn apart
            assert any(set(piece) <= set(chunk) for chunk in chunks)


def test_without_weights_and_length_nothing_changes():
    prompts = ["a cat and the red thing", "", "blue on green, 3 times"]
    plain, asked = TEXT.encode(prompts), TEXT.encode(prompts, weights=True, chunks=True)
    assert torch.equal(plain.hidden, asked.hidden) and torch.equal(plain.pooled, asked.pooled)


def test_text_is_literal_unless_asked():
    literal, weighted = TEXT.encode(["a (red:1.3) cat"]), TEXT.encode(["a (red:1.3) cat"], weights=True)
    escaped = TEXT.encode([r"a \(red:1.3\) cat"], weights=True)
    assert torch.equal(literal.hidden, escaped.hidden)
    assert not torch.equal(literal.hidden, weighted.hidden)


@few
@given(st.text(alphabet="ab ():.,", max_size=30).filter(lambda text: not re.search(r":[\s.\d]*\)", text)))
def test_text_without_weights_is_what_the_models_own_code_encodes(text):
    """Parentheses and all, of any nesting."""
    assert parse_weights(text) == ([(text, 1.0)] if text else [])
    official = TEXT.tokenizer(
        text, padding="max_length", truncation=True, max_length=TEXT.max_length, return_tensors="pt"
    ).input_ids
    ((row,),) = [TEXT._parts(text, weights=True, chunks=True)]
    assert [TEXT._framed([i for i, _ in row])] == official.tolist()


def test_weights_move_states_away_from_the_empty_prompt():
    plain, weighted = TEXT.encode(["a red cat"]), TEXT.encode(["a (red:1.5) cat"], weights=True)
    empty = TEXT.encode([""]).hidden[0]
    words = [len(TEXT.tokenizer(text, add_special_tokens=False).input_ids) for text in ("a ", "red")]
    red = slice(1 + words[0], 1 + sum(words))
    expected = plain.hidden[0].clone()
    expected[red] = empty[red] + 1.5 * (expected[red] - empty[red])
    torch.testing.assert_close(weighted.hidden[0], expected, atol=1e-5, rtol=1e-5)
    assert agree(weighted.hidden[0, : red.start], TEXT.encode(["a red cat", ""]).hidden[0, : red.start])
    torch.testing.assert_close(weighted.pooled, plain.pooled, atol=1e-6, rtol=1e-5)


def test_weight_one_is_no_weight():
    assert torch.equal(TEXT.encode(["a (red:1.0) cat"], weights=True).hidden, TEXT.encode(["a red cat"]).hidden)


def long_prompt(chunks: int) -> tuple[str, list[int]]:
    words = "the red cat and the blue hat in the rain on the mat "
    text = words
    while len(ids := TEXT.tokenizer(text, add_special_tokens=False).input_ids) <= (chunks - 1) * 75 + 5:
        text += words
    return text, ids


def test_a_long_prompt_is_encoded_in_chunks():
    """Each with start and end of its own, as the encoder would see it alone."""
    text, ids = long_prompt(3)
    condition = TEXT.encode([text], chunks=True)
    assert condition.hidden.shape[1] == 3 * 77
    rows = [TEXT._framed(ids[first : first + 75]) for first in range(0, len(ids), 75)]
    out = TEXT.network(torch.tensor(rows, device=DEVICE), output_hidden_states=True)
    torch.testing.assert_close(condition.hidden[0], out.hidden_states[-2].flatten(0, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(condition.pooled[0], out.text_embeds[0], atol=1e-6, rtol=0)


def test_the_first_chunk_is_what_the_pipeline_cuts_to(caplog):
    text, _ = long_prompt(2)
    cut = TEXT.encode([text])
    assert "is left out" in caplog.text
    whole = TEXT.encode([text], chunks=True)
    torch.testing.assert_close(whole.hidden[:, :77], cut.hidden, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.pooled, cut.pooled, atol=1e-5, rtol=0)


def test_prompts_of_different_length_share_a_batch():
    """The shorter is filled up with empty parts."""
    text, _ = long_prompt(2)
    both = TEXT.encode(["a cat", text], chunks=True)
    assert both.hidden.shape[:2] == (2, 154)
    for part, alone in ((both.hidden[0, :77], "a cat"), (both.hidden[0, 77:], "")):
        torch.testing.assert_close(part, TEXT.encode([alone]).hidden[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(both.pooled[0], TEXT.encode(["a cat"]).pooled[0], atol=1e-5, rtol=0)


def test_prompts_may_come_in_an_array():
    """As a column of a table is one."""
    for prompts in (np.array(["a cat", "a hat"]), ("a cat", np.str_("a hat"))):
        assert torch.equal(TEXT.encode(prompts).hidden, TEXT.encode(["a cat", "a hat"]).hidden)


@pytest.mark.parametrize("weights", [False, True])
def test_equal_prompts_are_encoded_once(weights):
    """And give what each gives alone, to the bit, in its own place."""
    seen = []
    hook = TEXT.network.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    try:
        four = TEXT.encode(["a (red:1.3) cat", "a hat", "a hat", "a (red:1.3) cat"], weights=weights)
        two = TEXT.encode(["a (red:1.3) cat", "a hat"], weights=weights)
    finally:
        hook.remove()
    assert seen == ([3, 3] if weights else [2, 2])  # weights need the empty prompt too
    for ours, alone in ((four.hidden, two.hidden), (four.pooled, two.pooled)):
        assert torch.equal(ours, alone[[0, 1, 1, 0]])


def test_a_weighted_word_in_a_later_chunk_is_weighted():
    text, _ = long_prompt(2)
    plain = TEXT.encode([text + "cat"], chunks=True)
    weighted = TEXT.encode([text + "(cat:1.4)"], weights=True, chunks=True)
    changed = ((plain.hidden - weighted.hidden).abs() > 1e-3).any(-1)[0]
    assert changed[77:].any() and not changed[:77].any()


def test_ids_are_the_tokenizers():
    """For the recorded prompts, whatever their spaces and accents."""
    import json

    for folder in bundles():
        text = pipeline(folder).text
        prompts = json.loads((folder / "text.json").read_text())["prompts"]
        wanted = text.tokenizer(prompts, padding="max_length", truncation=True, max_length=text.max_length).input_ids
        ours = [text._framed([i for i, _ in text._parts(prompt, False, False)[0]]) for prompt in prompts]
        assert ours == wanted
