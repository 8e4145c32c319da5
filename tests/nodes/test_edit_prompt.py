"""MGT Edit Prompt, and CONDITIONING of prompts of ids."""

import pytest
import torch

import mgt_core
from mgt_core import MGTError
from support.bundles import dimoo_bundle
from support.device import HERE, equal
from support.node_runs import run
from support.runs import PIPE as MEISSONIC


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return mgt_core.load(dimoo_bundle(tmp_path_factory.mktemp("models") / "dimoo"), **HERE)


@pytest.fixture(scope="module")
def parts(pipe):
    return {"text_encoder": pipe.text, "codec": pipe.codec}


def image(height=48, width=80, seed=0):
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(seed))


def sampled(pipe, positive, negative, tokens, **settings):
    given = {"model": pipe.model, "positive": positive, "negative": negative, "tokens": tokens}
    return run("MGTSample", **given, seed=3, steps=3, **settings)[0].tokens


def test_a_picture_is_edited_as_the_library_does(pipe, parts):
    positive, negative, cfg, width, height = run(
        "MGTEditPrompt", **parts, image=image(), instruction="add a hat", text_guidance=2.0, resolution=96
    )
    wanted = mgt_core.picture_prompts(pipe.text, pipe.codec, image(), "add a hat", text_guidance=2.0, resolution=96)
    assert (cfg, (height, width)) == (wanted.cfg, wanted.size) == (7.0, (64, 96))
    tokens = run("MGTEmptyTokens", model=pipe.model, width=width, height=height, batch_size=1)[0]
    found = sampled(pipe, positive, negative, tokens, cfg=cfg)
    state = mgt_core.empty_tokens(pipe, height, width)
    ours = mgt_core.sample(pipe.model, state, wanted.positive, wanted.negative, steps=3, cfg=wanted.cfg, seed=3)
    assert equal(found, ours.tokens)


def test_a_style_takes_a_second_picture(parts):
    given = {"image": image(), "second_image": image(seed=1), "task": "style", "resolution": 64}
    positive, negative, *_ = run("MGTEditPrompt", **parts, **given)
    assert [extra["strength"] for _, extra in negative] == [2.5, 4.0] and len(positive) == 1
    with pytest.raises(MGTError, match="task 'style' takes two pictures"):
        run("MGTEditPrompt", **parts, **{**given, "second_image": None})


def test_words_of_other_models_are_refused(parts):
    with pytest.raises(MGTError, match="reads words alone"):
        run("MGTEditPrompt", text_encoder=MEISSONIC.text, codec=parts["codec"], image=image(), instruction="x")
    with pytest.raises(MGTError, match="no text encoder was loaded"):
        run("MGTEditPrompt", text_encoder=None, codec=parts["codec"], image=image(), instruction="x")


def test_a_batch_of_prompts_is_each_alone(pipe):
    """Of different lengths; nothing is filled up that the model would see."""
    positive, count = run("MGTPromptBatch", prompts="a fox\ntwo cups of tea on a table", text_encoder=pipe.text)
    negative = run("MGTTextEncode", text="", text_encoder=pipe.text)[0]
    tokens = run("MGTEmptyTokens", model=pipe.model, width=64, height=64, batch_size=count)[0]
    both = sampled(pipe, positive, negative, tokens, cfg=3.0)
    alone = run("MGTTextEncode", text="a fox", text_encoder=pipe.text)[0]
    one = run("MGTEmptyTokens", model=pipe.model, width=64, height=64, batch_size=1)[0]
    assert equal(both[:1], sampled(pipe, alone, negative, one, cfg=3.0))


def test_what_the_hosts_nodes_make_of_a_prompt(pipe):
    """Zeroed out it is no prompt; mixed or joined it is none that a language model reads."""
    prompt = run("MGTTextEncode", text="a fox", text_encoder=pipe.text)[0]
    none = run("MGTTextEncode", text="", text_encoder=pipe.text)[0]
    tokens = run("MGTEmptyTokens", model=pipe.model, width=64, height=64, batch_size=1)[0]
    hidden, extra = prompt[0]
    zeroed = [[torch.zeros_like(hidden), dict(extra)]]
    assert equal(sampled(pipe, prompt, zeroed, tokens), sampled(pipe, prompt, none, tokens))
    for changed in (hidden / 2, torch.cat([hidden, hidden], 1), hidden + 1, hidden[:, :-1]):
        with pytest.raises(MGTError, match="mixes or joins prompts of a language model"):
            sampled(pipe, [[changed, extra]], none, tokens)
    half = [[hidden, {**extra, "mask": torch.ones(1, 4, 4), "strength": 0.5}], *none]
    assert sampled(pipe, half, none, tokens).max() < pipe.codec.codebook_size
    with pytest.raises(MGTError, match="has a prompt that is none"):
        sampled(pipe, [[hidden, {**extra, "mgt_ids": "x"}]], none, tokens)


def test_conditioning_of_another_model_is_refused(pipe):
    other = run("MGTTextEncode", text="a fox", text_encoder=MEISSONIC.text)[0]
    own = run("MGTTextEncode", text="a fox", text_encoder=pipe.text)[0]
    tokens = run("MGTEmptyTokens", model=pipe.model, width=64, height=64, batch_size=1)[0]
    with pytest.raises(MGTError, match="lacks prompt"):
        sampled(pipe, other, other, tokens)
    theirs = run("MGTEmptyTokens", model=MEISSONIC.model, width=64, height=64, batch_size=1)[0]
    with pytest.raises(MGTError, match="lacks hidden"):
        sampled(MEISSONIC, own, own, theirs)


def test_the_draws_temperature(pipe):
    """-1 leaves it to the model, whose one temperature acts in both places."""
    own = run("MGTSamplerMaskGIT", temperature_start=0.5, temperature_end=0.5)[0]
    run_of = mgt_core.settle(pipe.model, mgt_core.empty_tokens(pipe, 64, 64), sampler=own)
    assert run_of.sampler.draw_temperatures(2) == [0.5, 0.5]
    chosen = run("MGTSamplerMaskGIT", draw_temperature=0.7)[0]
    assert chosen == mgt_core.MaskGIT(draw_temperature=0.7) and chosen.draw_temperatures(3) == [0.7] * 3
