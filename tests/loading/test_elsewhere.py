"""Parts of a bundle that come from elsewhere, as people download them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from support.bundles import copy_bundle, edit_config, edit_weights, halton_bundle, weights_file
from support.device import HERE, equal
from support.encoders import clip_model
from support.golden import bundles, pipeline
from support.refusals import check

WHOLE = bundles()[0]


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


def same(ours: mgt_core.Pipeline, whole: mgt_core.Pipeline) -> bool:
    """Whether two pipelines make the same picture."""

    def picture(pipe):
        state = mgt_core.empty_state(1, (4, 4), pipe.model.mask_id, pipe.model.codebook_size)
        positive, negative = pipe.text.encode("a cat"), pipe.text.encode("")
        out = mgt_core.sample(pipe.model, state, positive, negative, steps=2, cfg=2.0, seed=3)
        return pipe.codec.decode(out)

    return torch.equal(picture(ours), picture(whole))


# Transformers alone


def alone(folder: Path) -> Path:
    """config.json and weights in the folder itself, as fine-tunes with save_pretrained are published (MaskFocus)."""
    return Path(shutil.copytree(WHOLE / "transformer", folder))


def file_alone(folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(weights_file(WHOLE / "transformer"), folder / "merged.safetensors"))


def below(folder: Path) -> Path:
    """As Yuanzhi/DiMO has it: meissonic/transformer, and something else beside it."""
    alone(folder / "meissonic" / "transformer")
    (folder / "maskgit").mkdir()
    return folder / "meissonic"


ALONE = {
    "folder": alone,
    "file": file_alone,
    "subfolder": below,
    "folder without config": lambda folder: file_alone(folder).parent,
}


@pytest.mark.parametrize("form", ALONE)
def test_a_transformer_alone_borrows_the_rest(form, tmp_path):
    source = ALONE[form](tmp_path / "tuned")
    whole = pipeline(WHOLE)
    pipe = load(source, base=WHOLE)
    assert same(pipe, whole) and pipe.name == source.name
    assert pipe.model.timestep_rule == whole.model.timestep_rule and pipe.size == whole.size
    assert same(load(source, codec=WHOLE, text_encoder=WHOLE, transformer=WHOLE), whole)
    assert same(load(WHOLE, transformer=source), whole)


def test_weights_are_those_of_the_transformer_that_was_given(bundle, tmp_path):
    source = alone(tmp_path / "tuned")
    edit_weights(source, lambda held: {name: value * 1.5 for name, value in held.items()})
    held = load_file(weights_file(source))
    for pipe in (load(source, base=bundle), load(bundle, transformer=source)):
        assert all(equal(value, held[name]) for name, value in pipe.model.network.state_dict().items())
        assert pipe.source == source


def test_a_file_among_other_models_takes_the_codec_of_its_base(tmp_path):
    """Codecs of other families lie in the same folder."""
    halton_bundle(tmp_path / "mgt")
    file = tmp_path / "mgt" / "merged.safetensors"
    shutil.copy(weights_file(WHOLE / "transformer"), file)
    assert same(load(file, base=WHOLE), pipeline(WHOLE))


def test_the_size_of_the_base_is_not_that_of_the_transformer(bundle, tmp_path):
    (bundle / "model_index.json").write_text(json.dumps({"sample_size": 96}))
    edit_config(bundle / "scheduler", timestep_rule="mask_ratio", defaults={"steps": 5})
    pipe = load(alone(tmp_path / "tuned"), base=bundle)
    assert pipe.size == pipeline(WHOLE).size and pipe.model.defaults["steps"] == 5
    assert pipe.model.timestep_rule == "mask_ratio"


def test_a_codec_from_elsewhere(bundle, tmp_path):
    codec = Path(shutil.copytree(bundle / "vqvae", tmp_path / "codec"))
    edit_weights(codec, lambda held: {name: value * 0.9 for name, value in held.items()})
    held = load_file(weights_file(codec))
    pipe = load(bundle, codec=codec)
    assert all(equal(value, held[name]) for name, value in pipe.codec.network.state_dict().items())
    assert pipe.model.codec is pipe.codec
    shutil.rmtree(bundle / "vqvae")
    assert same(load(bundle, codec=WHOLE), pipeline(WHOLE))
    assert same(load(bundle, codec=WHOLE / "vqvae"), pipeline(WHOLE))


def test_a_bundle_of_parts_is_saved_whole(tmp_path, clip):
    pipe = load(alone(tmp_path / "tuned"), base=WHOLE, text_encoder=clip)
    saved = mgt_core.save_bundle(pipe, tmp_path / "saved")
    shutil.rmtree(clip)
    shutil.rmtree(tmp_path / "tuned")
    assert same(load(saved), pipe)


# What does not fit


def narrow_encoder(folder: Path) -> dict:
    return {"source": WHOLE, "text_encoder": clip_model(folder / "narrow", width=32)}


def narrow_projection(folder: Path) -> dict:
    return {"source": WHOLE, "text_encoder": clip_model(folder / "narrow", projection=24)}


def fewer_codes(folder: Path) -> dict:
    return {"source": WHOLE, "codec": halton_bundle(folder).parent / "vq_ds16_c2i.pt"}


def openclip_file(folder: Path) -> dict:
    file = folder / "open_clip_model.safetensors"
    save_file({"transformer.resblocks.0.ln_1.weight": torch.ones(4), "ln_final.bias": torch.ones(4)}, file)
    return {"source": WHOLE, "text_encoder": file}


def file_without_tokenizer(folder: Path) -> dict:
    file = folder / "encoder.safetensors"
    shutil.copy(weights_file(clip_model(folder / "clip")), file)
    bundle = copy_bundle(folder / "bundle")
    shutil.rmtree(bundle / "tokenizer")
    return {"source": bundle, "text_encoder": file}


REFUSED = {
    "a transformer without a codec": (
        lambda folder: {"source": alone(folder / "tuned")},
        ["tuned has no subfolder vqvae", "give one as codec, or a base bundle"],
    ),
    "a transformer without a text encoder": (
        lambda folder: {"source": alone(folder / "tuned"), "codec": WHOLE},
        ["tuned has no subfolder text_encoder", "give a text encoder, or a base bundle"],
    ),
    "a file without its config": (
        lambda folder: {"source": file_alone(folder / "tuned"), "codec": WHOLE},
        [r"merged\.json is missing", "base bundle"],
    ),
    "a folder of folders": (
        lambda folder: {"source": below(folder / "DiMO").parent, "base": WHOLE},
        ["DiMO has no subfolder transformer", "it holds meissonic"],
    ),
    "an encoder of another width": (narrow_encoder, ["narrow gives hidden states of width 32", "takes 40"]),
    "a projection of another width": (narrow_projection, ["narrow gives pooled states of width 24", "takes 48"]),
    "a codec with other codes": (fewer_codes, ["codes and its transformer 64", "different models"]),
    "a codec that is none": (
        lambda folder: {"source": WHOLE, "codec": weights_file(WHOLE / "transformer")},
        ["holds no codec this pack knows"],
    ),
    "an encoder in OpenCLIP's form": (openclip_file, ["no text encoder this pack knows", "ln_final.bias"]),
    "an encoder that is a transformer": (
        lambda folder: {"source": WHOLE, "text_encoder": WHOLE / "transformer"},
        ["transformer holds no text encoder this pack knows"],
    ),
    "an encoder that is nowhere": (
        lambda folder: {"source": WHOLE, "text_encoder": folder / "none"},
        ["text_encoder is", "none"],
    ),
    "a base that is nowhere": (lambda folder: {"source": WHOLE, "base": "Meissonic"}, ["base is 'Meissonic'"]),
    "a tokenizer that is none": (
        lambda folder: {"source": WHOLE, "tokenizer": WHOLE / "vqvae"},
        [r"vqvae/vocab\.json is missing"],
    ),
    "a file without a tokenizer": (file_without_tokenizer, ["bundle has no subfolder tokenizer", "give a tokenizer"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, tmp_path):
    make, pieces = REFUSED[case]
    given = make(tmp_path)
    check(lambda: load(**given), pieces)


def test_more_codes_than_the_transformer_knows_are_refused(bundle):
    name = "quantize.embedding.weight"
    edit_config(bundle / "vqvae", num_vq_embeddings=128)
    edit_weights(bundle / "vqvae", lambda held: held | {name: torch.cat([held[name]] * 2)})
    check(lambda: load(bundle), ("has 128 codes and its transformer 64",))
