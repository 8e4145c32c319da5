"""Models in a cache of huggingface_hub, given by the folder of the model, and downloads that were not finished."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.adapters.lora import LoRA
from mgt_core.loading import hub
from support.bundles import copy_bundle, edit_weights, halton_bundle, shard_weights, weights_file
from support.device import HERE
from support.encoders import clip_model
from support.golden import bundles
from support.hub import FIRST, SECOND, cached, incomplete, local
from support.loras import low_rank_pairs, save_peft

WHOLE = bundles()[0]
LINKED = pytest.mark.parametrize("links", [True, False], ids=["links", "files"])


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


def weight_of(source, **chosen) -> torch.Tensor:
    return load(source, **chosen).model.network.embed.embeddings.weight


def bundle_of(folder: Path, number: float = 0.0) -> Path:
    """One whose embeddings are all `number`."""
    copy_bundle(folder)
    name = "embed.embeddings.weight"
    edit_weights(folder / "transformer", lambda held: held | {name: torch.full_like(held[name], number)})
    return folder


@LINKED
def test_the_folder_of_a_model_is_that_of_its_files(tmp_path, links):
    repository = cached(tmp_path / "hub", "org/tiny", copy_bundle(tmp_path / "tiny"), links=links)
    pipe = load(repository)
    assert pipe.name == "org/tiny" and pipe.source == repository / "snapshots" / FIRST / "transformer"
    assert torch.equal(pipe.text.encode(["a cat"]).hidden, load(WHOLE).text.encode(["a cat"]).hidden)
    for path in (str(repository), repository / "snapshots", repository / "snapshots" / FIRST):
        assert load(path).name == "org/tiny"


def test_shards_and_files_of_one_folder(tmp_path):
    bundle = copy_bundle(tmp_path / "tiny")
    shard_weights(bundle / "transformer", 3)
    assert load(cached(tmp_path / "hub", "org/tiny", bundle)).name == "org/tiny"
    files = cached(tmp_path / "hub", "org/files", halton_bundle(tmp_path / "files").parent)
    pipe = load(files)
    assert pipe.name == "org/files" and pipe.source.name == "ImageNet_tiny.pth"


@LINKED
def test_parts_given_alone(tmp_path, links):
    hub = tmp_path / "hub"
    codec = cached(hub, "org/codec", shutil.copytree(WHOLE / "vqvae", tmp_path / "codec"), links=links)
    clip = cached(hub, "laion/CLIP", clip_model(tmp_path / "clip"), links=links)
    base = cached(hub, "org/base", copy_bundle(tmp_path / "base"), links=links)
    alone = shutil.copytree(WHOLE / "transformer", tmp_path / "alone")
    pipe = load(cached(hub, "org/alone", alone, links=links), codec=codec, text_encoder=clip, base=base)
    assert Path(pipe.text.tokenizer.name_or_path) == base / "snapshots" / FIRST / "tokenizer"
    assert load(WHOLE, tokenizer=clip, transformer=base).name == WHOLE.name
    assert mgt_core.load_text_encoder(clip, **HERE).encode(["a cat"]).hidden.shape == (1, 77, 40)


@LINKED
def test_a_lora(tmp_path, links):
    file = save_peft(tmp_path / "lora", low_rank_pairs(load(WHOLE).model.network), 8.0)
    wanted = LoRA.load(file)
    repository = cached(tmp_path / "hub", "org/lora", file.parent, links=links)
    ours = LoRA.load(repository)
    assert ours.name == "org/lora" and ours.updates.keys() == wanted.updates.keys()
    assert LoRA.load(repository / "snapshots" / FIRST / file.name).name == "org/lora/adapter_model"


@pytest.mark.parametrize("main", [FIRST, SECOND])
def test_of_several_snapshots_that_of_main(tmp_path, main):
    for revision, number, age in ((FIRST, 1.0, 0), (SECOND, 2.0, 50)):
        bundle = bundle_of(tmp_path / revision, number)
        repository = cached(tmp_path, "org/tiny", bundle, revision, main=revision == main, age=age)
    assert weight_of(repository).unique().tolist() == [1.0 if main == FIRST else 2.0]


REFS = {
    "none": None,
    "a snapshot that is gone": "f" * 40,
    "nothing": "",
    "much": "a" * 100_000,
    "no text": "\xff\xfe\0",
    "a way out": "../../../elsewhere",
    "the folder itself": ".",
}


@pytest.mark.parametrize("said", REFS.values(), ids=REFS)
def test_without_a_snapshot_of_main_the_newest(tmp_path, said):
    bundle_of(tmp_path / "elsewhere", 9.0)
    for revision, number, age in ((FIRST, 1.0, 50), (SECOND, 2.0, 0)):
        bundle = bundle_of(tmp_path / revision, number)
        repository = cached(tmp_path / "hub", "org/tiny", bundle, revision, main=False, age=age)
    if said is not None:
        (repository / "refs" / "main").write_bytes(said.encode("latin-1"))
    assert weight_of(repository).unique().tolist() == [2.0]


def without_weights(bundle: Path) -> None:
    for part in ("transformer", "vqvae", "text_encoder"):
        weights_file(bundle / part).unlink()


def one_file(bundle: Path) -> None:
    for entry in bundle.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (bundle / "README.md").write_text("A model.")


def without_a_shard(bundle: Path) -> None:
    shard_weights(bundle / "transformer", 3)[1].unlink()


def with_index(bundle: Path) -> None:
    """As diffusers writes it, which names the parts; one of them is gone."""
    parts = ", ".join(f'"{part}": ["diffusers", "Model"]' for part in ("transformer", "vqvae", "text_encoder"))
    (bundle / "model_index.json").write_text(
        f'{{"_class_name": "Pipeline", "feature_extractor": [null, null], {parts}}}'
    )
    shutil.rmtree(bundle / "vqvae")


LACKING = {
    "weights": without_weights,
    "all but one file": one_file,
    "a shard": without_a_shard,
    "a part": with_index,
    "one part's weights": lambda bundle: weights_file(bundle / "vqvae").unlink(),
}


@LINKED
@pytest.mark.parametrize("damage", LACKING.values(), ids=LACKING)
def test_a_snapshot_that_lacks_files_comes_after_one_that_has_all(tmp_path, damage, links):
    """As it is left behind by what looked into the repository for a single file, or was stopped."""
    cached(tmp_path / "hub", "org/tiny", bundle_of(tmp_path / "old", 1.0), FIRST, main=False, links=links, age=50)
    new = bundle_of(tmp_path / "new", 2.0)
    damage(new)
    repository = cached(tmp_path / "hub", "org/tiny", new, SECOND, links=links)
    assert weight_of(repository).unique().tolist() == [1.0]


@pytest.mark.parametrize("damage", LACKING.values(), ids=LACKING)
def test_the_only_snapshot_is_taken_whatever_it_lacks(tmp_path, damage):
    bundle = bundle_of(tmp_path / "tiny")
    damage(bundle)
    repository = cached(tmp_path / "hub", "org/tiny", bundle)
    with pytest.raises(mgt_core.MGTError, match=f"snapshots/{FIRST}"):
        load(repository)


def test_where_all_lack_something_main_comes_first(tmp_path):
    """People leave out parts that they take from elsewhere."""
    for revision, number in ((FIRST, 1.0), (SECOND, 2.0)):
        bundle = bundle_of(tmp_path / revision, number)
        weights_file(bundle / "text_encoder").unlink()
        repository = cached(tmp_path / "hub", "org/tiny", bundle, revision, main=revision == FIRST, age=50)
    assert weight_of(repository, text=False).unique().tolist() == [1.0]


def to_elsewhere(repository: Path, elsewhere: Path) -> None:
    (repository / "snapshots").mkdir(parents=True)
    (repository / "snapshots" / FIRST).symlink_to(elsewhere)


def snapshots_elsewhere(repository: Path, elsewhere: Path) -> None:
    repository.mkdir(parents=True)
    moved = elsewhere.parent / "moved"
    moved.mkdir()
    elsewhere.rename(moved / FIRST)
    (repository / "snapshots").symlink_to(moved)


@pytest.mark.parametrize("make", [to_elsewhere, snapshots_elsewhere])
def test_no_snapshot_is_entered_by_a_link(tmp_path, make):
    repository = tmp_path / "hub" / "models--org--tiny"
    make(repository, copy_bundle(tmp_path / "elsewhere"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(FIRST)
    assert hub.entered(repository) == repository
    with pytest.raises(mgt_core.MGTError, match="no subfolder transformer"):
        load(repository)


def test_a_link_to_the_folder_of_a_model_is_followed(tmp_path):
    """As for any model that people put a link to."""
    repository = cached(tmp_path / "hub", "org/tiny", copy_bundle(tmp_path / "tiny"))
    (tmp_path / "here").symlink_to(repository)
    assert load(tmp_path / "here").model.network is not None


def test_a_whole_cache_names_its_models(tmp_path):
    cached(tmp_path / "hub", "org/tiny", copy_bundle(tmp_path / "tiny"))
    with pytest.raises(mgt_core.MGTError, match="it holds models--org--tiny, which may be given"):
        load(tmp_path / "hub")


def test_a_download_of_which_nothing_came(tmp_path):
    repository = incomplete(tmp_path / "models--org--tiny")
    wanted = (
        r"^org/tiny is an unfinished download \(some of its files end in .incomplete\): download it again, "
        "which goes on where it ended; "
    )
    encoder = partial(mgt_core.load_text_encoder, **HERE)
    for take in (load, LoRA.load, encoder, lambda path: load(WHOLE, codec=path)):
        with pytest.raises(mgt_core.MGTError, match=wanted):
            take(repository)


def test_a_download_of_which_a_part_came(tmp_path):
    bundle = copy_bundle(tmp_path / "tiny")
    shutil.rmtree(bundle / "vqvae")
    repository = cached(tmp_path / "hub", "org/tiny", bundle)
    (repository / "blobs" / f"{SECOND}.incomplete").write_bytes(b"")
    with pytest.raises(mgt_core.MGTError, match="org/tiny is an unfinished download .* no subfolder vqvae"):
        load(repository)
    shutil.copytree(WHOLE / "vqvae", repository / "snapshots" / FIRST / "vqvae")
    assert load(repository).name == "org/tiny"  # what an earlier try left behind does no harm


def test_a_folder_that_was_downloaded_to(tmp_path):
    bundle = local(copy_bundle(tmp_path / "tiny"))
    assert torch.equal(weight_of(bundle), weight_of(WHOLE))
    kept = bundle / ".cache" / "huggingface" / "download" / "transformer"
    weights_file(bundle / "transformer").rename(kept / "x3Yz_.0f1e.incomplete")
    for source in (bundle, bundle / "transformer"):
        with pytest.raises(mgt_core.MGTError, match="is an unfinished download .*incomplete"):
            load(source)
    other = shutil.copytree(WHOLE / "vqvae", tmp_path / "tiny" / "other")
    weights_file(other).unlink()
    with pytest.raises(mgt_core.MGTError, match="tiny/other ") as caught:
        load(WHOLE, codec=other)
    assert "download" not in str(caught.value)  # nothing of this one is there


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_odd_things_in_a_cache(tmp_path):
    repository = cached(tmp_path, "org/tiny", copy_bundle(tmp_path / "tiny"), main=False)
    os.mkfifo(repository / "refs" / "main")
    (repository / "snapshots" / "loop").symlink_to("loop")
    (repository / "snapshots" / "file").write_text("")
    assert load(repository).name == "org/tiny"


NAMES = {
    "models--org--name": "org/name",
    "models--name": "name",
    "hub/models--org--name": "org/name",
    "models--org--name/snapshots/0a1b": "org/name",
    "hub/models--org--name/snapshots/0a1b/vqvae": "org/name/vqvae",
    "models--org--name\\snapshots\\0a1b\\a.safetensors": "org/name/a.safetensors",
    "org/name": "org/name",
    "a\\b": "a\\b",
    "datasets--org--name": "datasets--org--name",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    assert hub.readable(name) == NAMES[name]


WORD = st.text("abc-._1", min_size=1).filter(lambda word: "--" not in word and not {word[0], word[-1]} & {"-"})


@given(WORD, WORD, st.lists(WORD, max_size=3), st.lists(WORD, max_size=3))
def test_a_name_is_that_of_the_repository_wherever_the_cache_lies(org, name, above, inside):
    parts = [*above, f"models--{org}--{name}", "snapshots", FIRST, *inside]
    assert hub.readable("/".join(parts)) == "/".join([org, name, *inside])
    assert hub.readable(hub.readable("/".join(parts))) == "/".join([org, name, *inside])
