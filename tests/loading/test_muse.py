"""Show-o and MMaDA as their files lie: in the layouts that downloads have, saved, and what does not fit."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core import MGTError
from support.bundles import UNIFIED, copy_bundle, dimoo_bundle, edit_config, mmada_bundle, showo_bundle
from support.device import HERE, agree

BUNDLES = {"show-o": showo_bundle, "mmada": mmada_bundle}


def drawn(pipe: mgt_core.Pipeline) -> torch.Tensor:
    state = mgt_core.empty_tokens(pipe, 64, 64)
    return mgt_core.sample(pipe.model, state, *map(pipe.text.encode, ("a fox", "")), steps=3, cfg=3.0).tokens


def told(source, **others) -> str:
    with pytest.raises(MGTError) as caught:
        mgt_core.load(source, **HERE, **others)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Tokens of a run of both, as their files are published."""
    root = tmp_path_factory.mktemp("published")
    return {name: drawn(mgt_core.load(make(root / name), **HERE)) for name, make in BUNDLES.items()}


def beside(folder):
    """As the recorded tree has them: three folders side by side."""
    for part in ("showo", "magvitv2", "phi_tiny"):
        shutil.copytree(UNIFIED / "showo" / part, folder / part)
    return folder


def in_transformer(folder):
    """The network in a folder of the usual name, the codec in another."""
    showo_bundle(folder, pickled=False)
    (folder / "transformer").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(folder / "transformer" / name)
    (folder / "magvitv2").rename(folder / "vqvae")
    return folder


def without_language_config(folder):
    """Sizes are those of the tensors; of the language model only the tokenizer is needed."""
    showo_bundle(folder)
    (folder / "phi-1_5" / "config.json").unlink()
    (folder / "phi-1_5").rename(folder / "tokenizer")
    return folder


@pytest.mark.parametrize("layout", [beside, in_transformer, without_language_config])
def test_layouts_of_show_o(layout, published, tmp_path):
    assert agree(drawn(mgt_core.load(layout(tmp_path / "model"), **HERE)), published["show-o"])


def test_parts_from_elsewhere(published, tmp_path):
    """Each may be given by itself: one codec and one tokenizer do for several models."""
    whole = showo_bundle(tmp_path / "whole")
    bare = showo_bundle(tmp_path / "bare")
    for part in ("phi-1_5", "magvitv2"):
        shutil.rmtree(bare / part)
    assert "has no tokenizer.json and none of its folders tokenizer, phi_tiny, phi-1_5" in told(bare, codec=whole)
    lent = mgt_core.load(bare, codec=whole / "magvitv2", tokenizer=whole / "phi-1_5", **HERE)
    assert agree(drawn(lent), published["show-o"])
    assert agree(drawn(mgt_core.load(bare, base=whole, **HERE)), published["show-o"])


@pytest.mark.parametrize("family", BUNDLES)
def test_saved_and_loaded_again(family, published, tmp_path):
    pipe = mgt_core.load(BUNDLES[family](tmp_path / "model"), **HERE)
    again = mgt_core.load(mgt_core.save_bundle(pipe, tmp_path / "saved"), **HERE)
    assert agree(drawn(again), published[family])
    assert mgt_core.settle(again.model, mgt_core.empty_tokens(again, 64, 64)) == mgt_core.settle(
        pipe.model, mgt_core.empty_tokens(pipe, 64, 64)
    )
    assert again.size == pipe.size
    assert again.text.max_length == pipe.text.max_length


@pytest.mark.parametrize("family", BUNDLES)
def test_what_else_a_checkpoint_may_hold(family, published, tmp_path):
    """Of a Show-o that also sees through CLIP its projection is left out; names may have lost what stands before."""
    folder = mmada_bundle(tmp_path / "model") if family == "mmada" else showo_bundle(tmp_path / "model", pickled=False)
    file, prefix = folder / "model.safetensors", "model.transformer." if family == "mmada" else "showo."
    held = {name.removeprefix(prefix): value for name, value in load_file(file).items()}
    save_file(held | ({"mm_projector.0.weight": torch.ones(2, 2)} if family == "show-o" else {}), file)
    assert agree(drawn(mgt_core.load(folder, **HERE)), published[family])


def test_smaller_sizes_have_their_own_settings(tmp_path):
    folder = showo_bundle(tmp_path / "model")
    assert mgt_core.load(folder, **HERE).size == (64, 64)
    edit_config(folder, num_vq_tokens=1024)
    large = mgt_core.load(folder, **HERE)
    assert large.size == (512, 512) and (large.model.defaults["steps"], large.model.defaults["cfg"]) == (50, 6.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_vq_tokens": 15}, "num_vq_tokens 15; expected a square number"),
        ({"codebook_size": 32}, "has 356 ids; expected 281 of its tokenizer, 10 marks, 32 codes and the mask"),
        ({"vocab_size": 300}, "vocab_size 300 and its weights 356 ids; they belong to different models"),
        ({"llm_vocab_size": None}, "llm_vocab_size None; expected a number"),
    ],
)
def test_configs_that_no_network_has(tmp_path, changes, words):
    folder = showo_bundle(tmp_path / "model")
    edit_config(folder, **changes)
    assert words in told(folder)


def test_language_models_of_other_kinds(tmp_path):
    folder = showo_bundle(tmp_path / "model")
    (folder / "phi-1_5" / "config.json").write_text('{"model_type": "llama"}')
    assert "is of a 'llama' model; Show-o is built on 'phi'" in told(folder)
    (folder / "phi-1_5" / "config.json").write_text('{"model_type": "phi", "rope_theta": 0}')
    assert "rope_theta of the language model's config is 0; accepted are numbers from 1" in told(folder)


@pytest.mark.parametrize("path", ["/etc", "../..", "", "..\\..", None, 3, "microsoft/phi-1_5/"])
def test_a_path_of_elsewhere_is_looked_for_here_alone(tmp_path, path, published):
    folder = showo_bundle(tmp_path / "model")
    edit_config(folder, llm_model_path=path)
    assert agree(drawn(mgt_core.load(folder, **HERE)), published["show-o"])


@pytest.mark.parametrize("family", BUNDLES)
def test_tokenizers_of_other_models(family, tmp_path):
    folder, other = BUNDLES[family](tmp_path / "model"), dimoo_bundle(tmp_path / "other")
    assert "tokens, and the transformer was trained with" in told(folder, tokenizer=other)
    (words,) = folder.rglob("tokenizer_config.json")
    words.write_text("{}")
    words.with_name("special_tokens_map.json").write_text("{}")
    assert "has no start or no end token" in told(folder)


def test_a_tokenizer_without_the_marks(tmp_path):
    folder = mmada_bundle(tmp_path / "model")
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("reserved_token_4|", "reserved_4|"))
    assert "the tokenizer has no token <|reserved_token_4|>" in told(folder)


@pytest.mark.parametrize("family", BUNDLES)
def test_codecs_of_other_models(family, tmp_path):
    folder = BUNDLES[family](tmp_path / "model")
    held = load_file(UNIFIED / "showo" / "magvitv2" / "pytorch_model.safetensors")
    shutil.rmtree(folder / "magvitv2")
    assert "none of its parts is a codec of a known kind" in told(folder)
    other = copy_bundle(tmp_path / "meissonic")
    assert mgt_core.load(folder, codec=other, **HERE).codec.codebook_size == 64  # as many codes by chance
    for name in ("encoder.conv_out", "encoder.quant_conv", "decoder.post_quant_conv"):
        held |= {f"{name}.{kind}": held[f"{name}.{kind}"][:5] for kind in ("weight", "bias")}
    for name in ("encoder.quant_conv", "decoder.post_quant_conv", "decoder.conv_in"):
        held[f"{name}.weight"] = held[f"{name}.weight"][:, :5].contiguous()
    save_file(held, tmp_path / "codec.safetensors")
    assert "has 32 codes and its transformer 64" in told(folder, codec=tmp_path / "codec.safetensors")


@pytest.mark.parametrize("family", BUNDLES)
def test_pictures_are_square(family, tmp_path):
    pipe = mgt_core.load(BUNDLES[family](tmp_path / "model"), **HERE)
    with pytest.raises(MGTError, match="4 x 6; this model makes square pictures alone"):
        mgt_core.sample(pipe.model, mgt_core.empty_tokens(pipe, 64, 96), *[pipe.text.encode("")] * 2)


def test_ids_of_another_model(tmp_path):
    pipe = mgt_core.load(showo_bundle(tmp_path / "model"), **HERE)
    state, far = mgt_core.empty_tokens(pipe, 64, 64), mgt_core.Condition(prompt=torch.tensor([[7, 400]]))
    with pytest.raises(MGTError, match="holds the id 400, and the model's vocabulary has 356"):
        mgt_core.sample(pipe.model, state, far, far)
