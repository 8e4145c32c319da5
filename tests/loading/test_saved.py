"""What the installed diffusers and transformers save, in every way that they offer, is loaded again as it was."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mgt_core
from support.bundles import amused_bundle
from support.device import DEVICE, HERE
from support.golden import bundles

PROMPTS = ["a red heart", ""]
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SMALL = "20KB"  # of a shard: every part has several


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return amused_bundle(tmp_path_factory.mktemp("saved") / "amused")


def pipeline_of(source: Path, dtype: torch.dtype = torch.float32):
    """diffusers' own pipeline of a bundle."""
    from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    return AmusedPipeline(
        vqvae=VQModel.from_pretrained(source / "vqvae").to(dtype),
        tokenizer=CLIPTokenizer.from_pretrained(source / "tokenizer"),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(source / "text_encoder").to(dtype),
        transformer=UVit2DModel.from_pretrained(source / "transformer").to(dtype),
        scheduler=AmusedScheduler.from_pretrained(source / "scheduler"),
    )


def load(folder: Path, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(folder, **HERE, **chosen)


def weights_of(pipe: mgt_core.Pipeline) -> dict[str, torch.Tensor]:
    parts = {"transformer": pipe.model.network, "codec": pipe.codec.network, "text": pipe.text.network}
    return {f"{part}.{name}": value for part, network in parts.items() for name, value in network.state_dict().items()}


def check_same(ours: mgt_core.Pipeline, before: mgt_core.Pipeline, dtype: torch.dtype = torch.float32) -> None:
    """Every weight as it was, as far as `dtype` holds it, and the same words."""
    held, wanted = weights_of(ours), weights_of(before)
    assert held.keys() == wanted.keys()
    assert all(torch.equal(held[name], value.to(dtype).to(value.dtype)) for name, value in wanted.items())
    ids = [[pipe.text.tokenizer(prompt).input_ids for prompt in PROMPTS] for pipe in (ours, before)]
    assert ids[0] == ids[1] and ours.text.max_length == before.text.max_length


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shard", [None, SMALL], ids=["whole", "shards"])
@pytest.mark.parametrize("variant", [None, "fp16"], ids=["plain", "variant"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "pickles"])
def test_a_pipeline(source, tmp_path, safe, variant, shard, dtype):
    more = {} if shard is None else {"max_shard_size": shard}
    pipeline_of(source, TYPES[dtype]).save_pretrained(tmp_path, safe_serialization=safe, variant=variant, **more)
    check_same(load(tmp_path), load(source), TYPES[dtype])


def test_a_pipeline_of_a_general_class(source, tmp_path):
    """As it was read from a folder, which it then names in its configs."""
    from diffusers import DiffusionPipeline

    pipeline_of(source).save_pretrained(tmp_path / "first")
    DiffusionPipeline.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    check_same(load(tmp_path / "second"), load(source))


def test_what_lies_beside_does_not_matter(source, tmp_path):
    pipeline_of(source).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    for name in ("feature_extractor", "image_processor", "safety_checker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "preprocessor_config.json").write_text('{"crop_size": 224}')
    check_same(load(tmp_path), load(source))


def saved_transformer(source: Path, folder: Path) -> dict:
    pipeline_of(source, torch.bfloat16).transformer.save_pretrained(folder, max_shard_size=SMALL)
    return {"transformer": folder}


def saved_codec(source: Path, folder: Path) -> dict:
    pipeline_of(source, torch.bfloat16).vqvae.save_pretrained(folder, safe_serialization=False)
    return {"codec": folder}


def saved_encoder(source: Path, folder: Path) -> dict:
    pipe = pipeline_of(source, torch.bfloat16)
    pipe.text_encoder.save_pretrained(folder, variant="fp16")
    pipe.tokenizer.save_pretrained(folder)
    return {"text_encoder": folder, "tokenizer": folder}


@pytest.mark.parametrize("save", [saved_transformer, saved_codec, saved_encoder], ids=["transformer", "codec", "text"])
def test_a_part_alone(source, tmp_path, save: Callable[[Path, Path], dict]):
    ours, before = (weights_of(load(source, **chosen)) for chosen in (save(source, tmp_path / "part"), {}))
    changed = {name for name, value in before.items() if not torch.equal(ours[name], value)}
    assert len({name.split(".")[0] for name in changed}) == 1
    assert all(torch.equal(ours[name], before[name].bfloat16().float()) for name in changed)


def test_the_text_encoder_gives_what_transformers_gives(source, tmp_path):
    pipe = pipeline_of(source)
    pipe.save_pretrained(tmp_path)
    text = load(tmp_path).text
    ids = pipe.tokenizer(PROMPTS, padding="max_length", max_length=text.max_length, return_tensors="pt").input_ids
    with torch.inference_mode():
        wanted = pipe.text_encoder(ids, output_hidden_states=True)
    ours = text.encode(PROMPTS)
    assert (ours.hidden - wanted.hidden_states[-2].to(DEVICE)).abs().max() < 1e-5
    assert (ours.pooled - wanted.text_embeds.to(DEVICE)).abs().max() < 1e-5


def test_a_bundle_of_ours_is_read_by_transformers(tmp_path):
    """The other way round."""
    from transformers import CLIPTextModelWithProjection, CLIPTokenizerFast

    pipe = load(bundles()[0])
    folder = mgt_core.save_bundle(pipe, tmp_path / "ours")
    network = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").to(DEVICE)
    held = pipe.text.network.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in network.state_dict().items())
    words = CLIPTokenizerFast.from_pretrained(folder / "tokenizer")
    assert words(PROMPTS).input_ids == pipe.text.tokenizer(PROMPTS).input_ids
