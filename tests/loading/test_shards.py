"""Which files of a folder are read: shards and variants by every name that libraries have given them."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core import MGTError
from mgt_core.loading import shards as shards_of_folders
from mgt_core.loading.layouts import remembered
from mgt_core.loading.listing import one_list
from mgt_core.loading.weights import index_weights
from support.bundles import copy_bundle, shard_weights
from support.device import HERE


def write(file: Path, name: str) -> None:
    """A file with one tensor."""
    held = {name: torch.ones(1)}
    torch.save(held, file) if file.suffix == ".bin" else save_file(held, file)


def shards(folder: Path, pattern: str, index: str = "", count: int = 2, mark: str = "") -> None:
    """Files of one tensor each, whose names begin with `mark`; pattern: of their names, with {} for the number."""
    folder.mkdir(exist_ok=True)
    files = {f"{mark}{number}": pattern.format(number) for number in range(1, count + 1)}
    for name, file in files.items():
        write(folder / file, name)
    if index:
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": files}))


NAMED = {
    "plain": ("diffusion_pytorch_model-0000{}-of-00002.safetensors", "diffusion_pytorch_model.safetensors.index.json"),
    "a variant before the number": (
        "diffusion_pytorch_model.fp16-0000{}-of-00002.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
    ),
    "a variant behind it": (
        "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
    ),
    "of both times": (
        "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
    ),
    "pickles": ("pytorch_model-0000{}-of-00002.bin", "pytorch_model.bin.index.json"),
    "pickles of a variant": ("pytorch_model.ema-0000{}-of-00002.bin", "pytorch_model.bin.index.ema.json"),
    "no index": ("model-0000{}-of-00002.safetensors", ""),
    "no index, a variant": ("model.fp16-0000{}-of-00002.safetensors", ""),
    "no index, pickles": ("pytorch_model-0000{}-of-00002.bin", ""),
}


@pytest.mark.parametrize("name", NAMED)
def test_all_shards_by_every_name(tmp_path, name):
    shards(tmp_path, *NAMED[name])
    assert sorted(index_weights(tmp_path)) == ["1", "2"]


@pytest.mark.parametrize("name", NAMED)
def test_a_missing_shard_is_named(tmp_path, name):
    pattern, index = NAMED[name]
    shards(tmp_path, pattern, index)
    lost = tmp_path / pattern.format(2)
    lost.unlink()
    with pytest.raises(MGTError, match=f"lacks 1 of 2 shards: {lost.name}$"):
        index_weights(tmp_path)
    lost.with_name(f"{lost.name}.crdownload").touch()
    with pytest.raises(MGTError, match=f"{lost.name} .the download {lost.name}.crdownload has not ended"):
        index_weights(tmp_path)


def test_numbers_from_zero(tmp_path):
    for number in range(3):
        write(tmp_path / f"model-{number}-of-3.safetensors", f"{number}")
    assert sorted(index_weights(tmp_path)) == ["0", "1", "2"]
    (tmp_path / "model-1-of-3.safetensors").unlink()
    with pytest.raises(MGTError, match="lacks 1 of 3 shards: model-1-of-3.safetensors"):
        index_weights(tmp_path)


@pytest.mark.parametrize("name", [name for name, (pattern, _) in NAMED.items() if "fp16" in pattern])
def test_plain_weights_come_before_a_variant(tmp_path, name):
    pattern, index = NAMED[name]
    shards(tmp_path, pattern, index, mark="half ")
    write(tmp_path / f"{pattern.split('.')[0].split('-')[0]}.safetensors", "plain")
    assert list(index_weights(tmp_path)) == ["plain"]


def test_one_file_beside_an_index(tmp_path, caplog):
    """The index counts as long as its shards are there."""
    shards(tmp_path, *NAMED["plain"])
    write(tmp_path / "diffusion_pytorch_model.safetensors", "whole")
    assert sorted(index_weights(tmp_path)) == ["1", "2"]
    (tmp_path / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    assert list(index_weights(tmp_path)) == ["whole"]
    assert "lacks 1 of 2 shards" in caplog.text and "diffusion_pytorch_model.safetensors is read instead" in caplog.text


@pytest.mark.parametrize("whole", ["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"])
def test_shards_that_are_missing_where_other_weights_are_there(tmp_path, whole):
    (tmp_path / NAMED["plain"][1]).write_text('{"weight_map": {"a": "a-00001-of-00001.safetensors"}}')
    for other in ("optimizer.bin", "odd.safetensors"):  # which are in nobody's place
        write(tmp_path / other, "odd")
    with pytest.raises(MGTError, match="lacks 1 of 1 shards"):
        index_weights(tmp_path)
    write(tmp_path / whole, "whole")
    assert list(index_weights(tmp_path)) == ["whole"]


def test_an_index_that_cannot_be_followed_is_not_passed_over(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    shards(tmp_path, *NAMED["plain"])
    (tmp_path / NAMED["plain"][1]).write_text('{"weight_map": {"a": "../a.safetensors"}}')
    with pytest.raises(MGTError, match="expected names of .safetensors files beside it"):
        index_weights(tmp_path)
    write(tmp_path / "diffusion_pytorch_model.bin", "whole")
    with pytest.raises(MGTError, match="expected names of .safetensors files beside it"):
        index_weights(tmp_path)


@pytest.mark.parametrize("name", NAMED)
def test_a_chosen_file_that_is_one_shard(tmp_path, name):
    """The folder is to be chosen; what is missing there is named."""
    folder = tmp_path / "network"
    shards(folder, *NAMED[name])
    one, other = (folder / NAMED[name][0].format(number) for number in (1, 2))
    sentence = f"{one} is one of 2 shards, which are read together; choose their folder, {folder}"
    with pytest.raises(MGTError) as caught:
        index_weights(one)
    assert str(caught.value) == sentence
    told = remembered(one).foreign
    assert told.short == "one of 2 shards, which are read together" and str(folder) in told.advice
    other.unlink()
    with pytest.raises(MGTError) as caught:
        index_weights(one)
    assert str(caught.value) == f"{sentence}, once it holds {other.name} too"


def test_the_only_shard_is_a_file_like_others(tmp_path):
    write(tmp_path / "model-00001-of-00001.safetensors", "a")
    assert list(index_weights(tmp_path)) == list(index_weights(tmp_path / "model-00001-of-00001.safetensors")) == ["a"]


def test_more_shards_than_any_model_has_by_name_alone(tmp_path):
    write(tmp_path / "model-00001-of-99999.safetensors", "a")
    with pytest.raises(MGTError, match="is one of 99999 shards; accepted are up to 1000"):
        index_weights(tmp_path)


def test_a_bundle_of_shards_loads(tmp_path):
    """Without an index, as pickles, and by the names of a variant."""
    bundle = copy_bundle(tmp_path / "bundle")
    wanted = mgt_core.load(bundle, **HERE).model.network.state_dict()
    for part in ("transformer", "vqvae", "text_encoder"):
        shard_weights(bundle / part, 3)
        (index,) = (bundle / part).glob("*.index.json")
        index.unlink()
        for number, file in enumerate(sorted((bundle / part).glob("*.safetensors")), 1):
            torch.save(load_file(file), file.with_name(f"pytorch_model.fp16-0000{number}-of-00003.bin"))
            file.unlink()
    found = mgt_core.load(bundle, **HERE).model.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_a_lora_and_a_part_that_are_one_shard(tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    one = shard_weights(bundle / "text_encoder", 2)[0]
    for action in (
        lambda: mgt_core.load(bundle, text_encoder=one, **HERE),
        lambda: mgt_core.LoRA.load(one),
        lambda: mgt_core.load(one, **HERE),
    ):
        with pytest.raises(MGTError, match="is one of 2 shards, which are read together; choose their folder"):
            action()


def test_a_list_gathers_the_shards_of_a_folder_once(tmp_path, monkeypatch):
    """Those of large models are hundreds, and each of them is told of."""
    count, seen = 60, []
    for number in range(1, count):
        write(tmp_path / f"model-{number:05}-of-{count:05}.safetensors", f"{number}")
    shard_of = shards_of_folders.shard_of
    monkeypatch.setattr(shards_of_folders, "shard_of", lambda file: seen.append(file) or shard_of(file))
    with one_list():
        told = [remembered(file).foreign for file in sorted(tmp_path.iterdir())]
    assert all(f"model-000{count}-of-000{count}.safetensors too" in each.advice for each in told)
    assert len(seen) < 5 * count
