"""How often loading reads what: the config and the list of tensors of each part once, and nothing for nothing."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.loading import disk, endings, weights
from mgt_core.loading.compose import find_layout
from mgt_core.loading.layouts import BUILT_IN, loose_bundles
from support.bundles import copy_bundle, halton_bundle, openmuse_bundle, shard_weights
from support.device import HERE
from support.golden import bundles

LISTS = endings.SUFFIXES  # files whose list of tensors is read


class Reads:
    """How often each JSON file and each list of tensors was read, and each safetensors file opened for its values."""

    def __init__(self, monkeypatch):
        self.lists, self.opened = Counter(), Counter()
        for place, name, counts in (
            (weights, "read_header", self.lists),
            (weights, "index_pickle", self.lists),
            (disk, "read_whole", self.lists),
            (safetensors, "safe_open", self.opened),
        ):
            monkeypatch.setattr(place, name, self.counted(getattr(place, name), counts))

    def counted(self, function, counts):
        def counting(path, *args, **settings):
            if Path(path).suffix in (".json", *LISTS):
                counts[Path(path)] += 1
            return function(path, *args, **settings)

        return counting

    def of(self, *parts: Path) -> list[int]:
        """Readings of every JSON file and every list of tensors of these folders or files."""
        files = (file for part in parts for file in ([part] if part.is_file() else part.glob("*")))
        return [self.lists[file] for file in files if file.suffix in (".json", *LISTS)]


@pytest.fixture
def reads(monkeypatch) -> Reads:
    return Reads(monkeypatch)


def load(source) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE)


def check(reads: Reads, *parts: Path) -> None:
    """Each of the parts that were loaded was read once, and anything else at most once."""
    assert set(reads.of(*parts)) == {1}
    assert set(reads.lists.values()) == {1}, reads.lists
    assert set(reads.opened.values()) <= {1}, reads.opened


def hugging_face_parts(bundle: Path) -> list[Path]:
    return [bundle / name for name in ("transformer", "vqvae", "text_encoder", "scheduler")]


@pytest.mark.parametrize("source", ["demo", *bundles()], ids=lambda source: Path(source).name)
def test_hugging_face_layout(reads, source):
    load(source)
    bundle = BUILT_IN.get(source) or source
    check(reads, *hugging_face_parts(bundle), *bundle.glob("model_index.json"))


def test_shards(tmp_path, reads):
    bundle = copy_bundle(tmp_path / "bundle")
    for part in ("transformer", "text_encoder"):
        shard_weights(bundle / part, 3)
    load(bundle)
    check(reads, *hugging_face_parts(bundle))


@pytest.mark.parametrize("pickled", [True, False], ids=["bin", "safetensors"])
def test_folders_of_any_name(tmp_path, reads, pickled):
    bundle = openmuse_bundle(tmp_path / "bundle", pickled)
    others = [bundle / name for name in ("broken", "unknown", "raw", "other_codec")]
    shutil.copytree(bundle / "ema_model", bundle / "raw")  # the averaged weights come before these
    shutil.copytree(bundle / "vqgan", bundle / "broken")
    for file in (bundle / "broken").glob("pytorch_model.*"):
        file.write_bytes(b"none")
    (bundle / "unknown").mkdir()
    (bundle / "unknown" / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, bundle / "unknown" / "model.safetensors")
    shutil.copytree(bundle / "vqgan", bundle / "other_codec")
    (file,) = (bundle / "other_codec").glob("pytorch_model.*")
    held = torch.load(file) if pickled else load_file(file)
    held["quantize.embedding.weight"] = held["quantize.embedding.weight"][:40]
    torch.save(held, file) if pickled else save_file(held, file)
    pipe = load(bundle)
    assert pipe.source == bundle / "ema_model" and pipe.codec.codebook_size == 48
    check(reads, bundle / "ema_model", bundle / "vqgan")
    assert max(reads.of(*others)) == 1


def test_files_beside_each_other(tmp_path, reads):
    file = halton_bundle(tmp_path)
    openmuse_bundle(tmp_path / "maskgit")
    other = tmp_path / "ImageNet_other.pth"
    for suffix in (".pth", ".json"):
        shutil.copy(file.with_suffix(suffix), other.with_suffix(suffix))
    load(file)
    check(reads, file, file.with_suffix(".json"), tmp_path / "vq_ds16_c2i.pt")


def test_packed_layers(tmp_path, reads):
    """The scheme stands in the header that was read, and marks are read together."""
    pipe = mgt_core.load(bundles()[0], **HERE, quantization=mgt_core.W8A16())
    bundle = mgt_core.save_bundle(pipe, tmp_path / "bundle")
    reads.lists.clear()
    reads.opened.clear()
    assert load(bundle).model.quantization == mgt_core.W8A16()
    assert set(reads.of(*hugging_face_parts(bundle))) == set(reads.lists.values()) == {1}
    assert {file.parent.name: times for file, times in reads.opened.items()} == {
        "transformer": 2,  # marks, weights
        "vqvae": 1,
        "text_encoder": 1,
    }


def test_a_layout_says_what_its_parts_are(tmp_path):
    bundle = openmuse_bundle(tmp_path / "bundle")
    layout = find_layout(bundle)
    assert (layout.name, layout.folder) == ("bundle", bundle)
    for part, path, kind in (
        (layout.transformer, bundle / "ema_model", mgt_core.BACKBONES.get("openmuse")),
        (layout.codec, bundle / "vqgan", mgt_core.CODECS.get("maskgit_vqgan")),
    ):
        assert (part.path, part.kind, part.codes) == (path, kind, 48)
        assert part.config == disk.read_json(path / "config.json")
        assert part.stored == weights.index_weights(path)


def test_a_codec_that_cannot_be_loaded_is_found_before_weights_are_read(tmp_path, reads):
    bundle = copy_bundle(tmp_path / "bundle")
    (bundle / "vqvae" / "config.json").write_text("{")
    with pytest.raises(mgt_core.MGTError, match=r"vqvae/config\.json is not valid JSON"):
        load(bundle)
    assert not reads.opened


def test_listing_reads_a_file_once_for_as_long_as_it_stays_the_same(tmp_path, reads):
    file = halton_bundle(tmp_path / "files")
    bundle = openmuse_bundle(tmp_path / "folders")
    for _ in range(3):
        assert loose_bundles(tmp_path / "files") == [file] and loose_bundles(bundle) == [bundle]
        assert set(reads.lists.values()) == {1}
    reads.lists.clear()
    torch.save({"weight": torch.zeros(1)}, file)
    assert loose_bundles(tmp_path / "files") == []
    assert reads.lists[file] == 1 and not reads.of(bundle / "vqgan") == [1, 1]
