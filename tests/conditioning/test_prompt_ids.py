"""Prompts of language models: ids, lengths, and where the words of objects lie among them."""

import logging
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core import MGTError, Uncage, object_words
from mgt_core.conditioning.objects import objects_of
from mgt_core.types import NO_WORD
from support.device import HERE, agree
from support.golden_dimoo import TINY


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load(TINY, **HERE)


def test_texts_of_every_kind_are_read_as_they_stand(pipe):
    texts = ["two cups", "Ein Füchslein im Schnee, 雪の中の狐 🦊", "a  b\n c", "\ud800 half", "(red:1.4) [x] {y}"]
    for text in texts:
        (ids,) = pipe.text.encode(text, weights=True, chunks=True).prompt.tolist()
        whole = text.replace("\ud800", "\ufffd")
        assert ids == pipe.text.tokens(
            f"<system>Generate an image according to the text prompt.</system><user>{whole}</user>"
        )
    together = pipe.text.encode(texts).prompt
    for row, text in zip(together.tolist(), texts, strict=True):
        own = pipe.text.encode(text).prompt[0].tolist()
        assert row == [NO_WORD] * (together.shape[1] - len(own)) + own


def test_a_long_prompt_is_cut_and_weights_are_told(pipe, caplog):
    short = replace(pipe.text, max_length=3)
    with caplog.at_level(logging.WARNING):
        ids = short.encode("one two three four five").prompt
    assert "which leaves out" in caplog.text and "the model takes 3" in caplog.text
    assert ids.shape == short.encode(short.cut("one two three four five")).prompt.shape
    assert short.length_note("a (red:1.4) fox", weights=True).endswith("takes no weights of words")
    assert pipe.text.length_note("a (red:1.4) fox") is None and pipe.text.length_note("a (red) fox", True) is None
    assert "'(red:1.4)' is read as it stands" in pipe.text.length_note("a (red:1.4) fox", True)


@pytest.mark.parametrize("prompts", [[], 3, ["a", 4], None])
def test_what_is_no_prompt(pipe, prompts):
    with pytest.raises(MGTError, match="^prompts are .* expected one or more texts$"):
        pipe.text.encode(prompts)


def test_prompts_of_other_models_are_named(pipe):
    state, good = mgt_core.empty_tokens(pipe, 64, 64), pipe.text.encode("")
    for ids, words in (
        (torch.full((1, 3), NO_WORD), "of no words at all"),
        (torch.tensor([[1, 100_000]]), "holds the id 100000, and the model's vocabulary has 382"),
        (torch.tensor([[-2, 1]]), "holds the id -2"),
    ):
        with pytest.raises(MGTError, match=words):
            mgt_core.sample(pipe.model, state, mgt_core.Condition(prompt=ids), good, steps=2)


def test_words_of_objects_are_found_by_their_letters(pipe):
    """Tokens of a word differ with what stands before it, and its case does not count."""
    prompt = "A red fox, and the blue cup beside a red  Fox"
    ids = pipe.text.encode(prompt).prompt[0]
    found = object_words(pipe.text, prompt, ["red fox", "the blue cup", "a red fox"])
    for words, wanted in zip(found, [["red", "fox"], ["blue", "cup"], ["red", "Fox"]], strict=True):
        told = [pipe.text.tokenizer.decode(ids[list(rows)]).strip() for rows in words]
        assert told == wanted
    assert len({row for own in found for word in own for row in word}) == sum(len(w) for own in found for w in own)
    for phrase, words in (("green cup", "is not in the prompt"), ("the", "has no word"), ("cups", "not in the prompt")):
        with pytest.raises(MGTError, match=words):
            object_words(pipe.text, prompt, [phrase])
    whole, halves = ("\U0001f98a a red fox", "\ud83e\udd8a a red fox")  # of a character, as JSON may hold them
    assert object_words(pipe.text, halves, ["red fox"]) == object_words(pipe.text, whole, ["red fox"])
    with pytest.raises(MGTError, match="not in the prompt"):  # of what was cut off
        object_words(replace(pipe.text, max_length=4), prompt, ["blue cup"])


@pytest.mark.parametrize("patch", [None, mgt_core.MLCache(0.6, 3, 0.0), mgt_core.TokenCache(0.5, 2)])
def test_uncage_over_prompts_of_different_lengths(pipe, patch):
    """Each image of a batch is what it is alone, and the words count."""
    model = pipe.model if patch is None else pipe.model.with_patch(patch)
    prompts = ["a red fox and a blue cup", "on a table of wood stand a red fox and a blue cup"]
    objects = objects_of(prompts, ["red fox", "blue cup"], pipe.text)
    given = {"steps": 6, "cfg": 2.0}
    none = pipe.text.encode("")

    def made(images, weight=30.0):
        sampler = Uncage((1.0, 0.0), weight=weight, end=1.0, objects=tuple(objects[i] for i in images))
        positive = pipe.text.encode([prompts[i] for i in images])
        state = mgt_core.empty_tokens(pipe, 64, 96, len(images))
        return mgt_core.sample(model, state, positive, none, sampler=sampler, seed=images[0], **given).tokens

    both = made([0, 1])
    assert agree(made([0]), both[:1]) and agree(made([1]), both[1:])
    assert not torch.equal(made([0], 0.0), both[:1])
