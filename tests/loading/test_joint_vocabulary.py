"""Bundles of language models: where their parts lie, how they are saved, and what is said of those that do not fit."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core import MGTError
from mgt_core.conditioning.picture_prompts import crop_sizes
from support.bundles import copy_bundle, dimoo_bundle, edit_config, edit_weights, showo_bundle, weights_file
from support.device import HERE, agree


@pytest.fixture
def folder(tmp_path):
    return dimoo_bundle(tmp_path / "model")


def drawn(pipe):
    state = mgt_core.empty_tokens(pipe, 64, 64)
    return mgt_core.sample(pipe.model, state, *map(pipe.text.encode, ("a fox", "")), steps=3, cfg=3.0).tokens


def edit_tokenizer(folder, change):
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    change(held)
    file.write_text(json.dumps(held))


def without_its_last_token(held):
    gone = held["added_tokens"].pop()["content"]
    held["model"]["vocab"].pop(gone, None)


def test_saved_and_loaded_again(folder, tmp_path):
    pipe = mgt_core.load(folder, **HERE)
    saved = mgt_core.save_bundle(pipe, tmp_path / "saved")
    words = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}  # of all that lies beside them
    assert not (saved / "text_encoder").exists() and words == set(os.listdir(saved / "tokenizer"))
    again = mgt_core.load(saved, **HERE)
    assert agree(drawn(again), drawn(pipe))
    assert again.model.network.config.marks == pipe.model.network.config.marks
    assert mgt_core.settle(again.model, mgt_core.empty_tokens(again, 64, 64)).sampler.draw_temperatures(2) == [1.0] * 2
    assert len(load_file(weights_file(saved / "transformer"))["ff_out.weight"]) == pipe.model.codebook_size


def test_the_tokenizer_may_come_from_elsewhere(folder, tmp_path):
    """So may the codec; and no text encoder at all is a choice."""
    expected = drawn(mgt_core.load(folder, **HERE))
    other = dimoo_bundle(tmp_path / "other")
    found = mgt_core.load(folder, tokenizer=other, codec=other, **HERE)
    assert agree(drawn(found), expected)
    assert mgt_core.load(folder, text=False, **HERE).text is None


def told(folder, **others):
    with pytest.raises(MGTError) as caught:
        mgt_core.load(folder, **HERE, **others)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_without_its_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in told(folder)


def test_what_is_no_tokenizer(folder):
    for text in ("", "[1, 2]", '{"model": 3}', "<html>"):
        (folder / "tokenizer.json").write_text(text)
        assert "tokenizer.json" in told(folder)


def test_another_models_tokenizer(folder, tmp_path):
    """One that has fewer tokens, or that lacks what the model marks pictures with."""
    edit_tokenizer(folder, without_its_last_token)
    assert "codes" in told(folder)
    shutil.rmtree(folder)
    dimoo_bundle(folder)
    fewer = dimoo_bundle(tmp_path / "fewer")
    edit_tokenizer(fewer, without_its_last_token)
    (fewer / "tokenizer_config.json").unlink()  # which names it too
    assert "belong to different models" in told(folder, tokenizer=fewer)

    def renamed(held):
        for entry in held["added_tokens"]:
            entry["content"] = entry["content"].replace("reserved_token_0", "reserved")

    edit_tokenizer(folder, renamed)
    assert "has no token <|reserved_token_0|>" in told(folder)


def test_another_models_codec(folder, tmp_path):
    other = copy_bundle(tmp_path / "meissonic")
    edit_weights(other / "vqvae", lambda w: w | {"quantize.embedding.weight": w["quantize.embedding.weight"][:32]})
    edit_config(other / "vqvae", num_vq_embeddings=32)
    assert "the codec of meissonic/vqvae has 32 codes and its transformer 64" in told(folder, codec=other)


def test_ids_that_do_not_fit(folder):
    edit_config_of(folder, mask_token_id=350)
    assert "mask_token_id 350, among the codes, which begin at 318" in told(folder)
    edit_config_of(folder, mask_token_id=True)
    assert "mask_token_id True; expected a number" in told(folder)


@pytest.mark.parametrize("bundle", [dimoo_bundle, showo_bundle])
def test_a_bundle_without_its_codec(bundle, tmp_path):
    """Neither its shards nor the folder of its tokenizer are what is missing."""
    folder = bundle(tmp_path / "model")
    shutil.rmtree(folder / ("vqvae" if bundle is dimoo_bundle else "magvitv2"))
    assert told(folder).endswith("vqmodel); give one as codec, or a base bundle that lends its own")


@pytest.mark.parametrize("named", [None, 5, "LLaDAForMultiModalGeneration", {}])
def test_architectures_that_are_no_list(folder, named):
    edit_config_of(folder, architectures=named)
    assert "has no subfolder transformer" in told(folder)


def test_a_tokenizers_files_are_read_up_to_a_size(folder):
    """Sparse, so that nothing is written; and in any encoding that JSON has."""
    with open(folder / "special_tokens_map.json", "wb") as file:
        file.write(b"{")
        file.truncate(10**8)
    assert "special_tokens_map.json has 100000000 bytes; accepted are up to" in told(folder)
    (folder / "special_tokens_map.json").unlink()
    expected = mgt_core.load(folder, **HERE).text.encode("a fox").prompt
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text(), "utf-8-sig")
    assert torch.equal(mgt_core.load(folder, **HERE).text.encode("a fox").prompt, expected)


def edit_config_of(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_vocabulary_that_ends_among_the_words(folder):
    for file in sorted(folder.glob("model-*.safetensors")):
        held = load_file(file)
        ends = {name: held[name][:300] for name in held if name.endswith(("wte.weight", "transformer.ff_out.weight"))}
        save_file(held | ends, file)
    assert "\n" not in told(folder)


def test_a_text_encoder_alone_is_not_to_be_had(folder):
    with pytest.raises(MGTError, match="reads prompts by itself"):
        mgt_core.load_text_encoder(folder, **HERE)


def test_sizes_of_training_are_taken_without_a_word(folder):
    """Those of layout.json and the published examples; others are taken, and told."""
    model = mgt_core.load(folder, **HERE).model
    sizes = [size for each in (512, 1024) for size in crop_sizes(each)] + [(1536, 768), (768, 1536)]
    assert [size for size in sizes if model.size_note(model.grid_for(*size[::-1]))] == []
    for size in ((256, 256), (2048, 2048), (2048, 256)):
        assert "trained at 1024 x 1024" in model.size_note(model.grid_for(*size))
