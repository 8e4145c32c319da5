"""MGT UNCAGE Sampler finds its objects in what MGT Text Encode encoded."""

import pytest
import torch

import mgt_core
from mgt_core import MGTError
from support.node_runs import graph_of, run
from support.runs import PIPE

PROMPT = "a red fox and a (blue:1.2) owl"


@pytest.fixture(scope="module")
def encoded():
    return run("MGTTextEncode", text=PROMPT, text_encoder=PIPE.text)[0]


def sampler(conditioning, objects, **settings):
    return run("MGTSamplerUNCAGE", conditioning=conditioning, text_encoder=PIPE.text, objects=objects, **settings)[0]


def test_it_makes_the_sampler(encoded):
    found = sampler(encoded, "a red fox\n\n  blue owl ", weight=2.0, temperature_start=3.0, temperature_end=1.0)
    objects = mgt_core.object_words(PIPE.text, PROMPT, ["red fox", "blue owl"], weights=True)
    assert found == mgt_core.Uncage((3.0, 1.0), weight=2.0, objects=(objects,)) and len(objects) == 2


def test_without_objects_nothing_is_looked_at(encoded):
    assert sampler(encoded, " \n") == mgt_core.Uncage()
    assert run("MGTSamplerUNCAGE", conditioning=encoded, text_encoder=None)[0] == mgt_core.Uncage()


def test_every_prompt_of_a_batch_has_its_own():
    batch = run("MGTPromptBatch", prompts="a fox and an owl\nan owl and a heart", text_encoder=PIPE.text)[0]
    first, second = sampler(batch, "fox\nowl\nheart").objects
    assert first == mgt_core.object_words(PIPE.text, "a fox and an owl", ["fox", "owl"])
    assert second == mgt_core.object_words(PIPE.text, "an owl and a heart", ["owl", "heart"])


def test_it_samples(encoded):
    tokens = run("MGTEmptyTokens", model=PIPE.model, width=PIPE.size[1], height=PIPE.size[0], batch_size=1)[0]
    graph = graph_of(PIPE) | {"positive": encoded, "tokens": tokens}
    tokens, calls, _ = run("MGTSample", **{**graph, "sampler": sampler(encoded, "fox\nowl", weight=50.0)})
    plain, *_ = run("MGTSample", **{**graph, "sampler": run("MGTSamplerMaskGIT")[0]})
    assert calls == 3 and not tokens.masked.any() and not torch.equal(tokens.tokens, plain.tokens)


@pytest.mark.parametrize(
    "change, objects, sentence",
    [
        (lambda c: c, "a cat", "the object 'a cat' is not in the prompt"),
        (lambda c: c, "the", "the object 'the' has no word"),
        (lambda c: [[c[0][0], {}]], "fox", "conditioning does not tell the prompt that it encodes"),
        (lambda c: c + c, "fox", "UNCAGE looks at one prompt; conditioning holds 2"),
    ],
)
def test_what_it_cannot_find_is_told(encoded, change, objects, sentence):
    with pytest.raises(MGTError, match=sentence):
        sampler(change(encoded), objects)


def test_no_text_encoder(encoded):
    with pytest.raises(MGTError, match="UNCAGE finds the words of a prompt by its text encoder, and none was loaded"):
        run("MGTSamplerUNCAGE", conditioning=encoded, text_encoder=None, objects="fox")
