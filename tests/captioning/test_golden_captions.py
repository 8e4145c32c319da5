"""Captions of the published Muddit implementation, reproduced: every token of every step, and the texts."""

import pytest
import torch

import mgt_core
from mgt_core.captioning.caption import caption_model, caption_state
from mgt_core.captioning.words import question_ids
from support.device import agree
from support.golden import assert_near
from support.muddit import MudditTrace, muddit_traces

RUNS = muddit_traces("i2t")


def questions(trace: MudditTrace) -> list[str]:
    asked = trace.call["prompt"] or ""
    batch = len(trace["image_tokens"])
    return [asked] * batch if isinstance(asked, str) else asked


def test_golden_tree_holds_cases():
    assert RUNS


@pytest.mark.parametrize("path", RUNS)
def test_golden_caption(path, monkeypatch):
    """A whole call of the public function; where the tree holds no picture, from its recorded tokens."""
    trace, seen = MudditTrace(path), []
    image = torch.zeros(len(trace["image_tokens"]), *trace.size, 3)
    pipe = trace.pipe
    if "image" in trace:
        image = trace["image"].permute(0, 2, 3, 1)
    else:
        monkeypatch.setattr(type(pipe.codec), "encode", lambda codec, image, tile_size=0: trace["image_tokens"])
    texts = mgt_core.caption(
        pipe,
        image,
        questions(trace),
        steps=trace.steps,
        sampler=mgt_core.MaskGIT(draws=trace.source),
        callback=seen.append,
    )
    assert len(seen) == trace.steps
    for step in seen:
        at = f"step{step.index:02d}."
        assert agree(step.tokens[:, 0], trace[at + "tokens_in"])
        assert agree(step.result.tokens[:, 0], trace[at + "tokens_out"])
    assert texts == trace.settings["texts"]


@pytest.mark.parametrize("path", RUNS)
@torch.inference_mode()
def test_golden_words(path):
    """Questions, pooled states, logits and draws of every step, from its recorded tokens."""
    trace = MudditTrace(path)
    model = caption_model(trace.pipe.model, trace.pipe.text, trace["image_tokens"])
    assert model.mask_id == trace.settings["mask_id"]
    asked = [question_ids(trace.pipe.text, question) for question in questions(trace)]
    recorded = trace.settings["question_ids"] or [[]] * len(asked)
    assert asked == recorded
    assert torch.equal(caption_state(model, asked).tokens[:, 0], trace["step00.tokens_in"].cpu())
    condition = mgt_core.Condition(labels=torch.arange(len(asked)))
    compared = 0
    races = trace.races(model.codebook_size, model.network.length, len(asked))
    for index, race in enumerate(races):
        at = f"step{index:02d}."
        tokens = trace[at + "tokens_in"]
        told = model.timestep(tokens, index, trace.steps)
        assert told.unique().tolist() == trace[at + "model_timestep"].tolist()
        logits = model.logits(tokens[:, None], condition, told)[:, 0]
        if at + "text_logits" in trace:
            rows = trace[at + "text_logits"]
            every = -(-tokens.shape[1] // rows.shape[1])
            assert_near(logits[:, ::every][:, : rows.shape[1]], rows)
            compared += 1
        if at + "text_argmax" in trace:
            assert agree(logits.argmax(-1), trace[at + "text_argmax"])
        if at + "pooled" in trace:
            assert_near(model.network.text(tokens)[1], trace[at + "pooled"])
        if at + "exp_noise" in trace:
            cut = trace[at + "exp_noise"]
            assert_near(race[:, : cut.shape[1], : cut.shape[2]], cut)
        free = tokens == model.mask_id
        assert agree((logits.softmax(-1) / race).argmax(-1)[free], trace[at + "drawn"][free])
    assert compared
    assert agree(logits.argmax(-1), trace["final.text_argmax"])
