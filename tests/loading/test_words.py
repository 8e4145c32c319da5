"""Tokenizers as each generation of transformers writes them: the same ids, whichever reads them."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.loading.layouts import BUILT_IN
from mgt_core.quantization import storage
from support.device import HERE
from support.golden import bundles
from support.tokenizers import FORMS, fast, one_file, with_settings

PROMPTS = ["a red heart, caf\u00e9", "Two  Dogs!! 17 <|endoftext|> x!", ""]
WHOLE = bundles()[0]
ENCODERS = {"meissonic": WHOLE, "demo": BUILT_IN["demo"]}


def text_of(encoder: Path, tokenizer: Path) -> mgt_core.TextEncoder:
    return mgt_core.load_text_encoder(encoder, **HERE, tokenizer=tokenizer)


def words_of(folder: Path) -> tuple:
    """What an encoder takes of a tokenizer."""
    words = text_of(WHOLE, folder).tokenizer
    ids = [words(prompt, add_special_tokens=False).input_ids for prompt in PROMPTS]
    return ids, words.bos_token_id, words.eos_token_id, words.pad_token_id


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tokenizer, to be changed."""
    return shutil.copytree(WHOLE / "tokenizer", tmp_path / "tokenizer")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_form_gives_the_same_states(tmp_path, name, form):
    encoder = ENCODERS[name]
    changed = shutil.copytree(encoder / "tokenizer", tmp_path / "tokenizer")
    FORMS[form](changed)
    ours, wanted = (text_of(encoder, folder).encode(PROMPTS) for folder in (changed, encoder / "tokenizer"))
    length = ours.hidden.shape[1]
    if "without settings" not in form:  # which say how many tokens a prompt is padded to
        assert length == wanted.hidden.shape[1]
    assert torch.equal(ours.hidden[:, : wanted.hidden.shape[1]], wanted.hidden)
    assert torch.equal(ours.pooled, wanted.pooled)


def test_a_bundle_with_one_file_loads_and_is_saved_again(tmp_path, folder):
    bundle = shutil.copytree(WHOLE, tmp_path / "bundle", ignore=shutil.ignore_patterns("tokenizer", "traces"))
    one_file(folder)
    shutil.move(folder, bundle / "tokenizer")
    before = mgt_core.load(bundle, **HERE)
    again = mgt_core.load(mgt_core.save_bundle(before, tmp_path / "again"), **HERE)
    assert sorted(file.name for file in (tmp_path / "again" / "tokenizer").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    hidden = mgt_core.load(WHOLE, **HERE).text.encode(PROMPTS).hidden
    assert torch.equal(before.text.encode(PROMPTS).hidden, hidden)
    assert torch.equal(again.text.encode(PROMPTS).hidden, hidden)


@pytest.mark.parametrize("form", [one_file, fast, lambda folder: None], ids=["one file", "fast", "words"])
@pytest.mark.parametrize("class_name", ["CLIPTokenizer", "CLIPTokenizerFast"])
def test_one_whose_files_are_gone_is_saved_by_either_class(folder, form, class_name):
    import transformers

    form(folder)
    if class_name == "CLIPTokenizer" and not (folder / "vocab.json").exists():
        class_name = "CLIPTokenizerFast"  # the other reads no such file in transformers 4
    before = words_of(folder)
    words = getattr(transformers, class_name).from_pretrained(folder)
    shutil.rmtree(folder)
    storage.save_tokenizer(words, folder)
    assert words_of(folder) == before


@pytest.mark.parametrize("form", [one_file, lambda folder: None], ids=["one file", "words"])
def test_what_a_prompt_is_padded_with(folder, form):
    """A pad token that is a word as well takes its id, and then stands for that word everywhere."""
    with_settings(folder, pad_token="!")
    (folder / "special_tokens_map.json").unlink()
    plain = shutil.copytree(folder, folder.with_name("plain"))
    (folder / "special_tokens_map.json").write_text("{}")  # for `one_file`, which takes it away
    form(folder)
    assert words_of(folder) == words_of(plain) and words_of(folder)[-1] == 0


LENGTHS = {
    "absent": ({}, 77),
    "none": ({"model_max_length": None}, 77),
    "as transformers writes none": ({"model_max_length": int(1e30)}, 77),
    "as other programs do": ({"model_max_length": 1e30}, 77),
    "without end": ({"model_max_length": math.inf}, 77),
    "shorter": ({"model_max_length": 24}, 24),
    "a number with a point": ({"model_max_length": 24.0}, 24),
}


@pytest.mark.parametrize("form", [one_file, lambda folder: None], ids=["one file", "words"])
@pytest.mark.parametrize("case", LENGTHS)
def test_how_long_a_prompt_may_be(folder, form, case):
    changes, wanted = LENGTHS[case]
    form(folder)
    file = folder / "tokenizer_config.json"
    kept = {name: value for name, value in json.loads(file.read_text()).items() if name != "model_max_length"}
    file.write_text(json.dumps(kept | changes))
    assert text_of(WHOLE, folder).max_length == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"extra_special_tokens": ["<|startoftext|>"]},
        {"extra_special_tokens": []},
        {"extra_special_tokens": None},
        {"extra_special_tokens": {}},
        {"tokenizer_class": "TokenizersBackend"},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"auto_map": {"AutoTokenizer": ["words.Words", None]}},
        {"padding_side": "left", "truncation_side": "left"},
        {"name_or_path": "some/where", "special_tokens_map_file": "./special_tokens_map.json"},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", [one_file, fast, lambda folder: None], ids=["one file", "fast", "words"])
def test_settings_that_others_write(folder, form, changes):
    form(folder)
    with_settings(folder, **changes)
    assert words_of(folder) == words_of(WHOLE / "tokenizer")


@pytest.mark.parametrize("form", [one_file, fast, lambda folder: None], ids=["one file", "fast", "words"])
def test_files_elsewhere_that_settings_name_are_not_read(tmp_path, folder, form):
    other = tmp_path / "elsewhere"
    shutil.copytree(BUILT_IN["demo"] / "tokenizer", other)
    FORMS["of a fast class"](other)
    form(folder)
    names = {"vocab_file": "vocab.json", "merges_file": "merges.txt", "tokenizer_file": "tokenizer.json"}
    with_settings(folder, **{name: str(other / file) for name, file in names.items()})
    assert words_of(folder) == words_of(WHOLE / "tokenizer")


def test_words_that_were_added(folder):
    """Ids behind those of the vocabulary, for which the encoder has to have rows."""
    from transformers import CLIPTokenizerFast

    words = CLIPTokenizerFast.from_pretrained(folder)
    words.add_tokens(["<cat-toy>"])
    shutil.rmtree(folder)
    words.save_pretrained(folder)
    with pytest.raises(mgt_core.MGTError, match="has 535 words with ids up to 534 and the text encoder"):
        text_of(WHOLE, folder)


@pytest.mark.parametrize(
    ("names", "missing"),
    [((), "vocab.json"), (("vocab.json",), "merges.txt"), (("merges.txt", "tokenizer_config.json"), "vocab.json")],
)
def test_a_tokenizer_that_is_not_whole(tmp_path, folder, names, missing):
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()
    with pytest.raises(
        mgt_core.MGTError,
        match=f"{missing} is missing; a tokenizer is a folder with vocab.json and merges.txt, or with tokenizer.json$",
    ):
        text_of(WHOLE, folder)


def test_a_tokenizer_of_another_kind_is_refused(folder):
    one_file(folder)
    held = json.loads((folder / "tokenizer.json").read_text())
    held["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    (folder / "tokenizer.json").write_text(json.dumps(held))
    with pytest.raises(mgt_core.MGTError, match="tokenizer"):
        text_of(WHOLE, folder)


def test_a_file_that_is_cut_is_named(folder):
    one_file(folder)
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:500])
    with pytest.raises(mgt_core.MGTError, match=r"tokenizer\.json is not valid JSON \(Unterminated string"):
        text_of(WHOLE, folder)


def test_a_page_is_told_as_one_however_long_it_is(folder):
    (folder / "tokenizer_config.json").write_text("<!DOCTYPE html>" + "<p>" * 100_000)
    with pytest.raises(mgt_core.MGTError, match=r"tokenizer_config\.json is a web page"):
        text_of(WHOLE, folder)
