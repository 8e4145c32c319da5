"""T5 as MAGNeT reads prompts with it: the published states, and what is done with prompts of several lengths."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.conditioning import t5
from mgt_core.conditioning.objects import object_words
from mgt_core.conditioning.t5 import visible_rows
from support.bundles import magnet_bundle
from support.device import DEVICE, HERE
from support.golden import OWN, ROOT

GOLDEN = ROOT / "audio" / "magnet"
CASES = json.loads((GOLDEN / "conditioning.json").read_text())
NEAR = {"atol": 1e-5, "rtol": 0}
WORDS = ["rain", "a slow piano tune with soft drums", ""]


def folder_of(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OWN / "audio" / "magnet" / "t5", tmp_path / "t5"))


@cache
def tiny() -> mgt_core.TextEncoder:
    return mgt_core.load_text_encoder(OWN / "audio" / "magnet" / "t5", **HERE)


@pytest.fixture
def text() -> mgt_core.TextEncoder:
    return tiny()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_published_ids_and_states(case):
    """Beside as many nulls, whose rows are zeros; behind shorter prompts are rows of zeros as well."""
    text = mgt_core.load_text_encoder(GOLDEN / "t5", **HERE)
    recorded = {name: value.to(DEVICE) for name, value in load_file(GOLDEN / "conditioning.safetensors").items()}
    ids, mask, states, _ = (recorded[f"{case['name']}.{name}"] for name in NAMES)
    prompts = [prompt or "" for prompt in case["texts"]]
    hidden = text.encode(prompts).hidden
    count = len(prompts)
    assert hidden.shape[:2] == ids[:count].shape and not mask[count:].any()
    torch.testing.assert_close(hidden, (states * mask[..., None])[:count], **NEAR)
    for row, prompt in enumerate(prompts):
        own = [token for token, _ in text.rows_of(prompt)] + [text.tokenizer.eos_token_id]
        assert not prompt or own == ids[row][mask[row].bool()].tolist()


NAMES = ("input_ids", "attention_mask", "t5_last_hidden", "cond")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_published_conditions_behind_the_networks_projection(case, tmp_path):
    pipe = mgt_core.load(magnet_bundle(tmp_path, GOLDEN), **HERE)
    wanted = load_file(GOLDEN / "conditioning.safetensors")[f"{case['name']}.cond"].to(DEVICE)
    hidden = pipe.text.encode([prompt or "" for prompt in case["texts"]]).hidden
    projection = pipe.model.network.condition_provider.conditioners.description.output_proj
    ours = projection(hidden) * (hidden != 0).any(-1, keepdim=True)
    torch.testing.assert_close(ours, wanted[: len(ours)], **NEAR)
    assert not wanted[len(ours) :].any()


def test_a_whole_model_gives_the_states_of_its_encoder(text, tmp_path):
    """As google-t5 publish it: with a decoder and a head, which are not read."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = folder_of(tmp_path)
    whole = T5ForConditionalGeneration(T5Config.from_pretrained(folder))
    missing = whole.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not missing.unexpected_keys
    held = {name: value.clone() for name, value in whole.state_dict().items()}
    assert any(name.startswith("decoder.") for name in held) and "encoder.embed_tokens.weight" in held
    for names in (held, {name: value for name, value in held.items() if name != "encoder.embed_tokens.weight"}):
        save_file(names, folder / "model.safetensors")
        ours = mgt_core.load_text_encoder(folder, **HERE)
        assert torch.equal(ours.encode(WORDS).hidden, text.encode(WORDS).hidden)
        assert not any("decoder" in name for name in ours.network.state_dict())


def test_gated_layers_of_later_versions(tmp_path):
    """T5 1.1 and Flan."""
    from transformers import T5Config, T5EncoderModel

    folder = folder_of(tmp_path)
    gated = {"feed_forward_proj": "gated-gelu", "is_gated_act": True, "dense_act_fn": "gelu_new"}
    config = T5Config.from_pretrained(folder, **gated)
    model = T5EncoderModel(config).eval()
    model.save_pretrained(folder)
    ours = mgt_core.load_text_encoder(folder, **HERE)
    ids = torch.tensor([[5, 7, 62, 1]])
    with torch.inference_mode():
        wanted = model(input_ids=ids).last_hidden_state
    assert [token for token, _ in ours.rows_of("a slow piano")] == ids[0, :-1].tolist()
    torch.testing.assert_close(ours.encode("a slow piano").hidden.cpu(), wanted, **NEAR)


def test_no_prompt_is_zeros(text):
    assert not text.encode("").hidden.any() and text.encode("").hidden.shape[1] == 1
    hidden = text.encode(WORDS).hidden
    assert not hidden[2].any() and (hidden[1] != 0).any(-1).all()
    assert text.encode(" ").hidden.any()  # one of its end alone, as published


def test_it_computes_in_float32_whatever_else_does(tmp_path):
    folder = magnet_bundle(tmp_path)
    pipe = mgt_core.load(folder, dtype=torch.bfloat16, device=DEVICE)
    assert {value.dtype for value in pipe.text.network.state_dict().values()} == {torch.float32}
    assert pipe.text.encode("rain").hidden.dtype == torch.float32
    wanted = mgt_core.load(folder, **HERE).text.encode(WORDS).hidden
    assert torch.equal(pipe.text.encode(WORDS).hidden, wanted)


def test_prompts_that_stand_alone_in_a_batch(text):
    alone = text.with_alone()
    batch = alone.encode(WORDS)
    assert batch.visible.tolist()[0] == [True] * 2 + [False] * 6
    assert batch.visible[1:].all()  # the empty one too: its zeros change nothing, and some row has to be attended to
    for place, prompt in enumerate(WORDS):
        single = alone.encode(prompt)
        torch.testing.assert_close(batch.hidden[place, : single.hidden.shape[1]], single.hidden[0], **NEAR)
        assert single.visible.all()
    assert text.encode(WORDS).visible is None and alone.with_alone(False).encode(WORDS).visible is None


@pytest.mark.parametrize("alone", [True, False])
def test_a_prompt_depends_on_its_batch_only_as_published(alone, tmp_path):
    """Of two prompts the shorter one: logits of the network beside the other, and by itself."""
    pipe = mgt_core.load(magnet_bundle(tmp_path), **HERE)
    text = pipe.text.with_alone(alone)
    tokens = torch.randint(0, pipe.model.codebook_size, (1, 4, 12), generator=torch.Generator().manual_seed(1))
    view = pipe.model.at_stage(0, tokens.to(DEVICE).expand(2, -1, -1))
    both = view.logits(tokens[:, :1].expand(2, -1, -1), text.encode(WORDS[:2]), 0.0)[0]
    view = pipe.model.at_stage(0, tokens.to(DEVICE))
    single = view.logits(tokens[:, :1], text.encode(WORDS[0]), 0.0)[0]
    gap = (both - single).abs().max()
    assert gap < 1e-4 if alone else gap > 1e-3


def test_weights_of_words_scale_their_states(text):
    plain = text.encode("a slow piano").hidden
    assert torch.equal(text.encode("a slow piano", weights=True).hidden, plain)
    ours = text.encode("a (slow:1.5) piano", weights=True).hidden
    scale = torch.tensor([1.0, 1.5, 1.0, 1.0], device=ours.device)[None, :, None]
    assert torch.equal(ours, plain * scale)
    inside = text.encode("a sl(ow:0.5) piano", weights=True).hidden  # a part of a token counts by its last letter
    assert torch.equal(inside, plain * torch.tensor([1.0, 0.5, 1.0, 1.0], device=ours.device)[None, :, None])
    literal = text.encode("a (slow:1.5) piano").hidden
    assert literal.shape[1] > plain.shape[1]
    assert not text.encode("(a slow piano:0)", weights=True).hidden[:, :-1].any()


def test_rows_of_objects(text):
    assert object_words(text, "a slow piano tune", ["a slow piano"]) == (((1,), (2,)),)
    with pytest.raises(mgt_core.MGTError, match="'drums' is not in the prompt"):
        object_words(text, "a slow piano tune", ["drums"])


def test_long_prompts(text, monkeypatch):
    assert text.length_note("rain " * 500) is None
    assert text.encode("rain " * 500).hidden.shape[1] == 501
    assert torch.equal(text.encode("rain " * 500, chunks=True).hidden, text.encode("rain " * 500).hidden)
    monkeypatch.setattr(t5, "LONGEST", 501)
    assert text.encode("rain " * 500).hidden.shape[1] == 501
    with pytest.raises(mgt_core.MGTError, match="^the prompt has 501 tokens; accepted are up to 500$"):
        text.encode("rain " * 501)


@settings(max_examples=40, deadline=None)
@given(prompts=st.lists(st.text(max_size=60), min_size=1, max_size=4), weights=st.booleans())
@example(prompts=["\ud800", "a\u2028b", "</s> <extra_id_0>", "((("], weights=True)
@example(prompts=["日本の音楽 😀", "(é:2)", "(:1.5)", "\x00"], weights=True)
def test_any_prompts(prompts, weights):
    text = tiny()
    found = text.encode(prompts, weights=weights)
    assert found.hidden.isfinite().all() and found.hidden.shape[0] == len(prompts)
    words = (found.hidden != 0).any(-1)
    for row, prompt in enumerate(prompts):
        kept = len(text.rows_of(prompt, weights)) + 1 if prompt else 0
        assert not words[row, kept:].any()  # what fills it up is zeros
        single = text.encode(prompt, weights=weights).hidden[0, :kept]
        torch.testing.assert_close(found.hidden[row, :kept], single, **NEAR)
    assert torch.equal(text.with_alone().encode(prompts, weights=weights).visible, visible_rows(found.hidden))


def test_packed_weights_stay_near(text):
    packed = mgt_core.quantize_text(text, "w8a16")
    gap = (packed.encode(WORDS).hidden - text.encode(WORDS).hidden).abs().max()
    assert 0 < gap < 0.05 * text.encode(WORDS).hidden.abs().max()
    with pytest.raises(mgt_core.MGTError, match="quantizes activations"):
        mgt_core.quantize_text(text, "w4a8")


def test_states_that_are_no_numbers(text):
    broken = mgt_core.replaced(text.network, {}, share=False)
    with torch.no_grad():
        broken.encoder.block[1].layer[0].SelfAttention.q.weight.fill_(float("nan"))
    with pytest.raises(mgt_core.MGTError, match="states that are not finite numbers; they begin in .*encoder.block.1"):
        replace(text, network=broken).encode("rain")


@pytest.mark.parametrize("prompts", [[], 3, [3], None])
def test_what_are_no_prompts(text, prompts):
    with pytest.raises(mgt_core.MGTError, match="expected one or more texts"):
        text.encode(prompts)
