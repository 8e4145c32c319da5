"""Settings, vocabularies and captions with the marks and in the encodings that editors and shells give them, and paths
that are no Path."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import mgt_core
from mgt_core import MGTError
from mgt_core.loading.marked import in_utf8
from mgt_core.presets import Preset
from mgt_core.quantization.calibration import Calibration
from mgt_core.quantization.pictures import folder_pictures
from mgt_core.self_guidance.examples import folder_pictures as training_pictures
from support.bundles import copy_bundle
from support.device import HERE
from support.golden import bundles, pipeline
from support.loras import logits, low_rank_pairs, save_peft
from support.pack import ROOT

ENCODINGS = ("utf-8-sig", "utf-16", "utf-32")
TEXTS = ("*.json", "*.txt")


def in_encoding(folder: Path, encoding: str) -> int:
    """Writes all settings and vocabularies in a folder so; how many there are."""
    files = [file for pattern in TEXTS for file in folder.rglob(pattern)]
    for file in files:
        file.write_bytes(file.read_text("utf-8").encode(encoding))
    return len(files)


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bundle_whose_files_have_been_edited(pipe, encoding, tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    assert in_encoding(bundle, encoding) >= 7
    ours, prompt = mgt_core.load(bundle, **HERE), ["a café, 2 cats"]
    assert torch.equal(ours.text.encode(prompt).hidden, pipe.text.encode(prompt).hidden)
    assert (ours.size, ours.model.defaults) == (pipe.size, pipe.model.defaults)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settings_of_loras_presets_and_calibrations(pipe, encoding, tmp_path):
    folder = save_peft(tmp_path / "lora", low_rank_pairs(pipe.model.network), 6.0).parent
    preset = tmp_path / "mine.json"
    preset.write_bytes((ROOT / "presets" / "built-in.json").read_bytes())
    found = Calibration("w4a8", {})
    found.save(tmp_path / "calibration.json")
    expected, adapted = Preset.read(preset), logits(pipe, pipe.model.with_lora(folder))
    assert in_encoding(tmp_path, encoding) == 3
    assert torch.equal(logits(pipe, pipe.model.with_lora(folder)), adapted)
    assert Preset.read(preset) == expected and Calibration.load(tmp_path / "calibration.json") == found


def test_what_tokenizers_read_is_written_anew_only_where_it_must_be(tmp_path):
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "other.bin").write_bytes(b"\xef\xbb\xbf")
    with in_utf8(tmp_path, {"vocab.json": 10, "merges.txt": 10}) as place:
        assert place == tmp_path
    (tmp_path / "merges.txt").write_bytes("é".encode("utf-16"))
    with in_utf8(tmp_path, {"vocab.json": 10, "merges.txt": 10}) as place:
        assert {file.name: file.read_bytes() for file in place.iterdir()} == {
            "vocab.json": b"{}",
            "merges.txt": "é".encode(),
        }
    assert not place.exists()
    with pytest.raises(MGTError, match="merges.txt has 4 bytes; accepted are up to 3"):
        with in_utf8(tmp_path, {"merges.txt": 3}):
            pass


def test_a_vocabulary_in_another_encoding_gets_one_sentence(tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    (bundle / "tokenizer" / "tokenizer_config.json").write_bytes('\ufeff{"é": 1}'.encode("utf-16")[:-1])
    with pytest.raises(MGTError, match="tokenizer_config.json is not valid JSON .*no text in UTF-16"):
        mgt_core.load(bundle, **HERE)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_captions(pipe, encoding, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("a café\r\n".encode(encoding))
    assert [told for _, told in training_pictures(tmp_path, pipe)] == ["a café"]
    asked = []
    words = SimpleNamespace(encode=lambda texts, *_, **__: asked.append(texts) or pipe.text.encode(texts))
    folder_pictures(tmp_path, SimpleNamespace(model=pipe.model, codec=pipe.codec, text=words, size=(64, 64)))
    assert asked[0] == ["a café"]
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(MGTError, match=r"a\.txt cannot be read: it is no text in UTF-8: line 1 holds the byte 0xe9"):
        list(training_pictures(tmp_path, pipe))


class Place(os.PathLike):
    """A path of another library."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_paths_of_other_libraries(pipe, tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    assert mgt_core.load(Place(bundle), **HERE, tokenizer=Place(bundle / "tokenizer")).size == pipe.size
    folder = save_peft(tmp_path / "lora", low_rank_pairs(pipe.model.network), 6.0).parent
    assert len(pipe.model.with_lora(Place(folder)).loras) == 1
    assert Preset.read(Place(ROOT / "presets" / "built-in.json")).name == "built-in"
    Calibration("w4a8", {}).save(Place(tmp_path / "c.json"))
    assert Calibration.load(str(tmp_path / "c.json")).scheme == "w4a8"
    assert mgt_core.save_bundle(pipe, Place(tmp_path / "new")) == tmp_path / "new"


@pytest.mark.parametrize("path", [b"demo", None, 3, ""])
def test_what_is_no_path_gets_one_sentence(pipe, path):
    for act in (
        Preset.read,
        Calibration.load,
        Calibration("w4a8").save,
        lambda folder: mgt_core.save_bundle(pipe, folder),
    ):
        with pytest.raises(MGTError, match="expected a path, as a text or a Path"):
            act(path)
    for act in (mgt_core.load, mgt_core.LoRA.load):
        with pytest.raises(MGTError, match="^(model|lora) is "):
            act(path)
