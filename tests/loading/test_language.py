"""A language model beside the text encoder: what is read of it, what is refused, saved and packed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core import MGTError
from mgt_core.conditioning.gemma import LENGTH, InstructionEncoder
from mgt_core.loading import weights
from mgt_core.placement import OnDemand
from mgt_core.quantization.layers import packed_layers
from support.bundles import edit_config, edit_weights
from support.device import HERE, agree
from support.editmgt import editmgt_bundle, own_pipeline

TEXT = own_pipeline().text
LANGUAGE = TEXT.network.language
PROMPTS = ["make it into a red cube", ""]


@pytest.fixture
def bundle(tmp_path):
    return editmgt_bundle(tmp_path / "EditMGT")


def load(source, **chosen):
    return mgt_core.load(source, **{**HERE, **chosen})


def test_a_repository_loads_as_it_is(bundle):
    pipe = load(bundle)
    assert isinstance(pipe.text, InstructionEncoder) and pipe.name == "EditMGT" and not pipe.advice
    ours, wanted = pipe.text.encode(PROMPTS), TEXT.encode(PROMPTS)
    assert torch.equal(ours.hidden, wanted.hidden) and torch.equal(ours.pooled, wanted.pooled)
    assert ours.hidden.shape[1] == LENGTH
    own = mgt_core.load_text_encoder(bundle, **HERE).encode(PROMPTS)
    assert torch.equal(own.hidden, wanted.hidden) and torch.equal(own.pooled, wanted.pooled)
    assert load(bundle, text=False).text is None


def test_transformers_gives_the_same(bundle):
    """hidden_states[-2] of the whole model, without a mask."""
    from transformers import Gemma2ForCausalLM

    network = Gemma2ForCausalLM.from_pretrained(bundle / "llm_encoder", attn_implementation="eager").eval()
    ids = [TEXT._framed([i for i, _ in TEXT._parts(prompt, False, False)[0]]) for prompt in PROMPTS]
    with torch.inference_mode():
        states = network(torch.tensor(ids), output_hidden_states=True).hidden_states[-2]
    assert agree(TEXT.encode(PROMPTS).hidden, states) or (TEXT.encode(PROMPTS).hidden.cpu() - states).abs().max() < 1e-5


def test_the_last_layer_and_the_head_are_not_read(bundle, monkeypatch):
    read, before = [], weights.read_pieces

    def recorded(*asked):
        for name, start, rows in before(*asked):
            read.append(name)
            yield name, start, rows

    monkeypatch.setattr("mgt_core.loading.materialize.read_pieces", recorded)
    file = bundle / "llm_encoder" / "model.safetensors"
    tensors = load_file(file)
    assert any("layers.2." in name for name in tensors)
    left_out = {name for name in tensors if "layers.2." in name or name in ("model.norm.weight", "lm_head.weight")}
    for name in left_out:
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, file)
    assert torch.equal(load(bundle).text.encode(PROMPTS).hidden, TEXT.encode(PROMPTS).hidden)
    assert not any("layers.2." in name for name in read)
    save_file({name: tensor for name, tensor in tensors.items() if name not in left_out}, file)  # and need not be there
    assert torch.equal(load(bundle).text.encode(PROMPTS).hidden, TEXT.encode(PROMPTS).hidden)


def test_half_precision(bundle):
    text = load(bundle, dtype=torch.bfloat16).text
    assert {value.dtype for value in text.network.parameters()} == {torch.bfloat16}
    rotary = [value for name, value in text.network.named_buffers() if name.endswith("inv_freq")]
    assert rotary and all(value.dtype == torch.float32 for value in rotary)  # as transformers keeps it
    error = text.encode(PROMPTS).hidden.float() - TEXT.encode(PROMPTS).hidden
    assert error.abs().mean() < 0.05 * TEXT.encode(PROMPTS).hidden.abs().mean()


@pytest.mark.parametrize("scheme", ["w8a16", "fp8"])
def test_packed_and_saved(bundle, tmp_path, scheme):
    pipe = load(bundle, text_quantization=scheme)
    kinds = {name.split(".")[0] for name in packed_layers(pipe.text.network)}
    assert kinds == {"clip", "language"}
    before = TEXT.encode(PROMPTS)
    now = pipe.text.encode(PROMPTS)
    assert not torch.equal(now.hidden, before.hidden) and (now.hidden - before.hidden).abs().mean() < 0.5
    again = load(mgt_core.save_bundle(pipe, tmp_path / "saved")).text.encode(PROMPTS)
    assert torch.equal(again.hidden, now.hidden) and torch.equal(again.pooled, now.pooled)


def test_a_saved_bundle_makes_the_same_pictures(bundle, tmp_path):
    pipe = load(bundle)
    again = load(mgt_core.save_bundle(pipe, tmp_path / "saved"))
    tokens = [
        mgt_core.sample(p.model, mgt_core.empty_tokens(p, 64, 64), p.text.encode("a cat"), steps=2, cfg=1.0).tokens
        for p in (pipe, again)
    ]
    assert torch.equal(*tokens)
    assert mgt_core.save_bundle(again, tmp_path / "saved", overwrite=True).is_dir()


def test_both_are_placed_together():
    place = OnDemand(TEXT.network, next(TEXT.network.parameters()).device)
    assert torch.equal(TEXT.with_placement(place).encode(PROMPTS).pooled, TEXT.encode(PROMPTS).pooled)


def test_what_it_encodes():
    """Padding on the left, start, words; weights move the rows of their words; what is longer follows in more rows."""
    ids = TEXT._ids("make it red")
    assert TEXT.rows_of("make it red") == list(zip(ids, range(LENGTH - len(ids), LENGTH), strict=True))
    moved = TEXT.encode("cube; red").hidden - TEXT.encode("(cube:1.5); red", weights=True).hidden
    first, last = (LENGTH - len(TEXT._ids(rest)) for rest in ("cube; red", "; red"))
    moved = (moved.abs().amax((0, 2)) > 1e-6).nonzero()[:, 0].tolist()
    assert moved == list(range(first, last))
    assert TEXT._weighed("a (red:2) cube ") == [("a", 1.0), (" red", 2.0), (" cube", 1.0), (" ", 1.0)]
    long = 200 * "red, cube; "
    parts = TEXT.encode(long, chunks=True).hidden
    assert parts.shape[1] > LENGTH and parts.shape[1] % LENGTH == 0
    torch.testing.assert_close(parts[:, :LENGTH], TEXT.encode(long).hidden, atol=1e-5, rtol=0)
    assert "the model's own code takes 255" in TEXT.length_note(long)


@pytest.mark.parametrize("prompt", ["owl; a red cube", "a red owl", "(owl)"])
def test_words_are_found_in_prompts(prompt):
    ((rows,),) = mgt_core.object_words(TEXT, prompt, ["owl"])
    ids = {row: token for token, row in TEXT.rows_of(prompt)}
    assert TEXT.tokenizer.decode([ids[row] for row in rows]).strip() == "owl"


def change(file, **values):
    def edit(bundle):
        path = bundle / "llm_encoder" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


def wider(bundle):
    """Of a larger Gemma."""
    edit_config(bundle / "editmgt", joint_attention_dim=24)
    edit_weights(
        bundle / "editmgt",
        lambda w: {**w, "connector.projector.weight": torch.zeros(w["connector.projector.weight"].shape[0], 24)},
    )


WRONG = [
    ("none", lambda b: shutil.rmtree(b / "llm_encoder"), "has no subfolder llm_encoder, the language model that reads"),
    (
        "another kind",
        lambda b: (shutil.rmtree(b / "llm_encoder"), shutil.copytree(b / "text_encoder", b / "llm_encoder")),
        r"llm_encoder holds no language model this pack knows \(gemma2\)",
    ),
    ("no weights", lambda b: (b / "llm_encoder" / "model.safetensors").unlink(), "llm_encoder"),
    ("no tokenizer", lambda b: (b / "llm_encoder" / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    (
        "a broken tokenizer",
        lambda b: (b / "llm_encoder" / "tokenizer.json").write_text("{}"),
        "does not hold a readable tokenizer",
    ),
    (
        "the tokenizer of another",
        change("tokenizer_config.json", pad_token="<another>"),
        "with ids up to 409 and the language model beside them takes 409",
    ),
    ("of another width", wider, "llm_encoder gives hidden states of width 20 and its transformer takes 24"),
    ("one layer", change("config.json", num_hidden_layers=1), "num_hidden_layers of .* is 1"),
    ("few positions", change("config.json", max_position_embeddings=200), "max_position_embeddings of .* is 200"),
    ("no number", change("config.json", head_dim="wide"), "config has head_dim 'wide'"),
    ("another size", change("config.json", intermediate_size=48), "do not have the shapes its config gives"),
    (
        "another encoder in the transformer's config",
        lambda b: edit_config(b / "editmgt", text_encoder_architecture="CLIP_T5"),
        "text_encoder_architecture 'CLIP_T5'; accepted is 'CLIP_Gemma2'",
    ),
]


@pytest.mark.parametrize(("spoil", "told"), [pytest.param(spoil, told, id=name) for name, spoil, told in WRONG])
def test_what_is_refused(bundle, spoil, told):
    spoil(bundle)
    with pytest.raises(MGTError, match=told) as caught:
        load(bundle)
    assert "\n" not in str(caught.value)


def test_a_base_lends_the_language_model(bundle, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(bundle / "editmgt", alone)
    shutil.rmtree(bundle / "editmgt")
    pipe = load(alone, base=bundle)
    assert torch.equal(pipe.text.encode(PROMPTS).hidden, TEXT.encode(PROMPTS).hidden)


def test_states_that_are_not_finite_are_told(bundle):
    text = load(bundle).text
    text.network.language.layers[1].self_attn.o_proj.weight.fill_(torch.nan)
    with pytest.raises(MGTError, match=r"not finite numbers; they begin in .*layers\.1\.self_attn\.o_proj"):
        text.encode(PROMPTS)
    assert replace(text, network=TEXT.network).encode(PROMPTS).hidden.isfinite().all()
