"""MAGNeT as people have it: two files of one folder, T5 from elsewhere, a codec that is only named."""

import shutil
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.loading.layouts import loose_bundles, remembered
from support.bundles import magnet_bundle
from support.device import HERE
from support.encoders import clip_model
from support.hub import cached
from support.magnet_files import CODEC, WEIGHTS, edit, made, named, same
from support.refusals import check


@pytest.fixture
def bundle(tmp_path) -> Path:
    return magnet_bundle(tmp_path / "magnet-small-10secs")


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


def codec_of_transformers(folder: Path) -> Path:
    """A folder as facebook/encodec_32khz is published, with the codec's tensors by transformers' names for them."""
    pipe = load(magnet_bundle(folder.parent / "whole"))
    folder.mkdir(parents=True)
    pipe.codec.network.save_pretrained(folder)
    shutil.rmtree(folder.parent / "whole")
    return folder


def pointing(bundle: Path, name: object = "facebook/encodec_32khz") -> Path:
    torch.save({"pretrained": name, "exported": True, "version": "1.4.0a2"}, bundle / CODEC)
    return bundle


def test_a_folder_or_its_file(bundle):
    pipe = load(bundle)
    assert pipe.name == load(bundle / WEIGHTS).name == "magnet-small-10secs"
    assert pipe.size is pipe.model.trained_size is None and pipe.source == bundle / WEIGHTS
    assert (pipe.model.sample_rate, pipe.codec.books, pipe.model.pixels_per_token) == (1600, 4, 32)
    assert pipe.model.network.trained_grid == (4, 50)
    assert same(load(bundle / WEIGHTS), pipe)
    assert loose_bundles(bundle) == [bundle]
    assert pipe.advice == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_files_load_as_what_is_asked_for(bundle, dtype):
    assert torch.load(bundle / WEIGHTS, weights_only=True)["best_state"]["emb.0.weight"].dtype == torch.float16
    network = mgt_core.load(bundle, dtype=dtype, device=HERE["device"]).model.network
    assert {value.dtype for value in network.state_dict().values()} == {dtype}


def test_folders_of_a_cache(tmp_path):
    """Of both, beside each other, as snapshot_download has them; and the name of the repository."""
    source = magnet_bundle(tmp_path / "source")
    wanted = load(magnet_bundle(tmp_path / "wanted"))
    hub = tmp_path / "hub"
    cached(hub, "google-t5/t5-base", source / "text_encoder")
    repository = cached(hub, "facebook/magnet-small-10secs", source)
    pipe = load(repository)
    assert pipe.name == "facebook/magnet-small-10secs" and same(pipe, wanted)


PLACES = {
    "in the bundle": "magnet-small-10secs/t5-base",
    "beside it": "t5-base",
    "of its owner": "google-t5/t5-base",
    "as a cache has it": "magnet-small-10secs/models--google-t5--t5-base/snapshots/0a1b",
    "in a cache beside": "models--google-t5--t5-base/snapshots/0a1b",
}


@pytest.mark.parametrize("place", PLACES)
def test_t5_is_found_by_its_name(bundle, tmp_path, place):
    wanted = made(load(bundle))
    (tmp_path / PLACES[place]).parent.mkdir(parents=True, exist_ok=True)
    (bundle / "text_encoder").rename(tmp_path / PLACES[place])
    assert all(torch.equal(*both) for both in zip(made(load(bundle)), wanted))


def test_t5_from_elsewhere(bundle, tmp_path):
    wanted = load(bundle)
    other = magnet_bundle(tmp_path / "other")
    (bundle / "text_encoder").rename(tmp_path / "mine")
    for chosen in (
        {"text_encoder": tmp_path / "mine"},
        {"text_encoder": other},
        {"base": other},
        {"text_encoder": tmp_path / "mine", "tokenizer": other / "text_encoder"},
    ):
        assert same(load(bundle, **chosen), wanted)
    assert load(bundle, text=False).text is None
    (tmp_path / "shelf").mkdir()
    (tmp_path / "mine").rename(tmp_path / "shelf" / "t5-base")
    assert same(load(bundle, shelves=[tmp_path / "none", tmp_path / "shelf"]), wanted)
    check(lambda: load(bundle, shelves=[tmp_path]), ("reads prompts with google-t5/t5-base",))


def test_t5_that_is_not_there(bundle):
    shutil.rmtree(bundle / "text_encoder")
    told = "^magnet-small-10secs reads prompts with google-t5/t5-base, which is not there: download its config.json"
    check(lambda: load(bundle), (told, f"into {bundle / 't5-base'}, .*models/text_encoders"))


@pytest.mark.parametrize("name", ["../t5", "/etc", "a/b/c", "..", "a\\b", "C:t5", "\x1b[31m", "x" * 200, "a\nb"])
def test_names_that_lead_elsewhere_are_not_followed(bundle, tmp_path, name):
    (bundle / "text_encoder").rename(tmp_path / "t5")
    edit(bundle / WEIGHTS, named(name))
    check(lambda: load(bundle, shelves=[tmp_path / "shelf"]), (r"which is not there", "text_encoder"))


@pytest.mark.parametrize(
    "place",
    [
        "magnet-small-10secs/encodec_32khz",
        "encodec_32khz",
        "facebook/encodec_32khz",
        "models--facebook--encodec_32khz/snapshots/0a1b",
    ],
)
def test_a_codec_that_is_only_named(bundle, tmp_path, place):
    wanted = load(bundle)
    pointing(bundle)
    codec_of_transformers(tmp_path / place)
    assert same(load(bundle), wanted)
    assert same(load(bundle / WEIGHTS), wanted)
    assert loose_bundles(bundle) == [bundle]


def test_a_codec_from_elsewhere(bundle, tmp_path):
    wanted = load(bundle)
    other = magnet_bundle(tmp_path / "other")
    codec = codec_of_transformers(tmp_path / "mine")
    pointing(bundle)
    for chosen in ({"codec": codec}, {"codec": other}, {"codec": other / CODEC}, {"base": other}):
        assert same(load(bundle, **chosen), wanted)
    (bundle / CODEC).unlink()
    assert same(load(bundle, codec=codec), wanted)


def test_a_codec_that_is_not_there(bundle):
    told = "holds no codec and names 'facebook/encodec_32khz': put the files of that repository into a folder"
    check(lambda: load(pointing(bundle)), (f"{CODEC} {told} of its name in {bundle}, or give it as codec",))
    assert remembered(bundle / CODEC).foreign is None and loose_bundles(bundle) == []
    check(lambda: load(pointing(bundle, "../../etc")), (r"names '../../etc'",))
    (bundle / CODEC).unlink()
    check(lambda: load(bundle), ("has no subfolder vqvae, and none of its parts is a codec",))


def test_a_file_without_its_config(bundle):
    held = torch.load(bundle / WEIGHTS, weights_only=True)
    torch.save(held["best_state"], bundle / WEIGHTS)
    check(lambda: load(bundle), ("state_dict.json is missing; a base bundle of the same network lends its own",))
    other = magnet_bundle(bundle.parent / "other")
    assert same(load(bundle, base=other), load(other))


def test_a_saved_bundle_is_read_again(bundle, tmp_path):
    pipe = load(bundle)
    again = load(mgt_core.save_bundle(pipe, tmp_path / "saved"))
    assert same(again, pipe) and again.size is None and again.model.sample_rate == 1600
    assert again.model.network.config == pipe.model.network.config
    assert dict(again.model.defaults) == dict(pipe.model.defaults)
    mgt_core.save_bundle(again, tmp_path / "saved", overwrite=True)
    shutil.rmtree(tmp_path / "saved" / "text_encoder")
    check(lambda: load(tmp_path / "saved"), ("saved reads prompts with google-t5/t5-base",))
    assert same(load(tmp_path / "saved", text_encoder=bundle), pipe)


def test_packed_parts_are_saved_packed(bundle, tmp_path):
    pipe = load(bundle, quantization="w8a16", text_quantization="w8a16")
    again = load(mgt_core.save_bundle(pipe, tmp_path / "saved"))
    assert again.model.quantization == pipe.model.quantization is not None
    assert same(again, pipe)
    plain = mgt_core.save_bundle(load(bundle), tmp_path / "plain")
    for name in ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (tmp_path / "saved" / name).stat().st_size < 0.7 * (plain / name).stat().st_size
    check(lambda: load(bundle, codec_quantization="w8a16"), ("the codec has no layers that can be packed",))


def test_a_clip_model_is_listed_and_read_as_before(tmp_path):
    text = mgt_core.load_text_encoder(clip_model(tmp_path / "clip"), **HERE)
    assert set(text.widths) == {"hidden", "pooled"} and text.with_alone() is text
