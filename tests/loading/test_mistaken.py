"""Files that are not what their name says are told as what they are, wherever they stand."""

import bz2
import gzip
import io
import json
import lzma
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

import mgt_core
from mgt_core import MGTError
from mgt_core.loading.beginnings import told_from
from mgt_core.loading.bundle import load_text_encoder
from mgt_core.loading.endings import LEFT_OVER
from mgt_core.loading.layouts import remembered
from mgt_core.presets import Preset
from support.bundles import copy_bundle, halton_bundle, openmuse_bundle, shard_weights, weights_file
from support.device import HERE
from support.golden import bundles
from support.trials import is_sentence

SAFETENSORS = save({"a": torch.ones(3)})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4000000000\n"


def pickled(zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(3)}, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def packed(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, SAFETENSORS)
    return stream.getvalue()


# What it is -> its content, and words of what is said.
ANYWHERE = {
    "a pointer": (POINTER, "a pointer of git-lfs, .*run git lfs pull"),
    "a page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "a web page, .*download the file itself"),
    "a page with a comment": (b"<!-- saved --><HTML lang=en>", "a web page"),
    "a page without its head": (b"<h1>404 Not Found</h1>", "a web page, .*look up its name"),
    "a page in UTF-16": ("\ufeff<html><title>Sign in</title>".encode("utf-16-le"), "a web page, .*download the file"),
    "a long comment": (b"\r\n<!-- " + 5000 * b"-" + b"--><html>", "a web page, .*download the file itself"),
    "a pointer through PowerShell": ("\ufeff".encode("utf-16-be") + POINTER.decode().encode("utf-16-be"), "git-lfs"),
    "nothing": (b"", "an empty file; download or copy it again"),
    "blanks": (b"\xef\xbb\xbf\r\n", "a file that is empty but for blanks; download or copy it again"),
    "an error in JSON": (b'{"error":"Repository not found"}', "a text, .*Repository not found.*look up its name"),
    "another error in JSON": (b'{"detail": "Rate limit", "status": 429}', "a text, .*Rate limit.*again later"),
    "no access": (
        b"Access to model a/b is restricted. You must be authenticated to access it.",
        "a text, .*Access to model a/b is restricted.*accept its terms",
    ),
    "no entry": (b"Entry not found", "a text, .*Entry not found.*look up its name"),
    "no user": (b"Invalid username or password.", "a text, .*Invalid username or password.*log in"),
    "an error in XML": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "AccessDenied.*log in",
    ),
    "gzip": (gzip.compress(SAFETENSORS), "a gzip archive; unpack it first"),
    "xz": (lzma.compress(SAFETENSORS), "an xz archive; unpack it first"),
    "bzip2": (bz2.compress(SAFETENSORS), "a bzip2 archive; unpack it first"),
    "zeros": (bytes(5000), "a file that begins with zeros alone, as unfinished downloads do; download it again"),
}
WEIGHTS = {
    "a zip file": (".safetensors", packed("model.safetensors"), "a zip archive; unpack it first"),
    "a zip file as pickle": (".bin", packed("model.safetensors"), "a zip file of something else, to be unpacked"),
    "a file of torch.save": (".safetensors", pickled(), "a file of torch.save; rename it .* ends in .pt"),
    "one of old": (".safetensors", pickled(zipped=False), "a file of torch.save; rename it .* ends in .pt"),
    "safetensors": (".bin", SAFETENSORS, "a safetensors file; rename it .* ends in .safetensors"),
    "GGUF": (".safetensors", b"GGUF\x03\0\0\0" + bytes(50), "a GGUF file"),
    "a picture": (".pt", b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
    "a text of any kind": (".ckpt", "caf\u00e9, 3 of them".encode(), "a text, not the weights"),
}
# Where they stand -> the file, and what reads it.
PLACES = {
    "transformer": ("transformer/diffusion_pytorch_model.safetensors", mgt_core.load),
    "codec": ("vqvae/diffusion_pytorch_model.safetensors", mgt_core.load),
    "text encoder": ("text_encoder/model.safetensors", load_text_encoder),
    "config": ("transformer/config.json", mgt_core.load),
    "config of the codec": ("vqvae/config.json", mgt_core.load),
    "index of a model": ("model_index.json", mgt_core.load),
    "settings of sampling": ("scheduler/scheduler_config.json", mgt_core.load),
    "words": ("tokenizer/vocab.json", mgt_core.load),
    "merges": ("tokenizer/merges.txt", mgt_core.load),
    "settings of words": ("tokenizer/tokenizer_config.json", mgt_core.load),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A bundle, one file of which is another for as long as a test runs."""
    return copy_bundle(tmp_path_factory.mktemp("whole") / "bundle")


@pytest.mark.parametrize("what", ANYWHERE)
@pytest.mark.parametrize("place", PLACES)
def test_what_stands_in_a_bundle(whole, place, what):
    (named, load), (content, words) = PLACES[place], ANYWHERE[what]
    file = whole / named
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        check(lambda: load(whole, **HERE), file, words)
    finally:
        file.write_bytes(before)


def check(action, file: Path, words: str) -> None:
    with pytest.raises(MGTError, match=f"(?s){file.name}.*{words}") as caught:
        action()
    assert is_sentence(str(caught.value))


@pytest.mark.parametrize("what", ANYWHERE)
def test_what_stands_beside_bundles(tmp_path, whole, what):
    """LoRAs with their settings, presets, branches, shards with their index, a file of its own."""
    content, words = ANYWHERE[what]
    network = mgt_core.load(bundles()[0], text=False, **HERE).model.network
    peft, parts = tmp_path / "peft", tmp_path / "parts"
    peft.mkdir()
    save_file(
        {"a.lora_A.weight": torch.ones(1, 2), "a.lora_B.weight": torch.ones(2, 1)}, peft / "adapter_model.safetensors"
    )
    shutil.copytree(whole / "transformer", parts)
    shard = shard_weights(parts, 2)[1]
    (index,) = parts.glob("*.index.json")
    for file, read in (
        (tmp_path / "lora.safetensors", mgt_core.LoRA.load),
        (peft / "adapter_config.json", lambda file: mgt_core.LoRA.load(peft)),
        (tmp_path / "preset.json", Preset.read),
        (tmp_path / "branch.safetensors", lambda file: mgt_core.load_branch(file, network)),
        (shard, lambda file: mgt_core.load(whole, transformer=parts, **HERE)),
        (index, lambda file: mgt_core.load(whole, transformer=parts, **HERE)),
        (tmp_path / "alone.pt", lambda file: mgt_core.load(file, **HERE)),
    ):
        before = file.read_bytes() if file.exists() else None
        file.write_bytes(content)
        check(lambda file=file, read=read: read(file), file, words)
        file.unlink() if before is None else file.write_bytes(before)


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_of_another_format(tmp_path, what):
    ending, content, words = WEIGHTS[what]
    file = tmp_path / f"model{ending}"
    file.write_bytes(content)
    check(lambda: mgt_core.load(file, **HERE), file, words)
    told = remembered(file).foreign
    assert not told.readable and words.split(";")[0].removeprefix("a ") in f"{told.short} {told.advice}"


@pytest.mark.parametrize("ending", LEFT_OVER)
def test_downloads_that_have_not_ended(tmp_path, whole, ending):
    """Chosen itself, alone in a folder, and beside the file that it is to become."""
    file = tmp_path / "transformer" / "model.safetensors"
    shutil.copytree(whole / "transformer", file.parent)
    weights = weights_file(file.parent).rename(file)
    left = file.with_name(file.name + ending)
    left.write_bytes(b"\0")

    def load(place: Path = file.parent):
        return mgt_core.load(whole, transformer=place, **HERE)

    if ending == ".aria2":  # whose file has its size from the beginning
        check(load, file, "is unfinished, since .*aria2 lies")
    else:
        load()
    weights.write_bytes(weights.read_bytes()[:500])
    check(load, file, f"unfinished, since .*{ending} lies beside")
    file.unlink()
    check(load, left, "has not ended")
    check(lambda: load(left), left, "an unfinished download; let it end")
    assert remembered(left).foreign.short == "unfinished download"


def test_a_download_that_has_ended_is_listed(whole, tmp_path):
    """Whatever was remembered of it before: the notes beside it go, and it stays as it is."""
    shutil.copytree(whole / "transformer", tmp_path / "transformer")
    file = weights_file(tmp_path / "transformer").rename(tmp_path / "model.safetensors")
    notes = file.with_name(file.name + ".aria2")
    notes.write_bytes(b"\0")
    assert remembered(file).kind is None
    notes.unlink()
    assert remembered(file).kind is not None


def test_a_part_of_any_name_that_cannot_be_read(tmp_path):
    """Where folders may have any name, and where files lie side by side, the one that is wanted is looked for among
    what cannot be read."""
    openmuse, halton = openmuse_bundle(tmp_path / "openmuse"), halton_bundle(tmp_path / "halton")
    for source, file in (
        (openmuse, openmuse / "ema_model" / "pytorch_model.bin"),
        (openmuse, openmuse / "vqgan" / "pytorch_model.bin"),
        (halton, halton.with_name("vq_ds16_c2i.pt")),
        (halton, halton),
    ):
        before = file.read_bytes()
        file.write_bytes(POINTER)
        check(lambda source=source: mgt_core.load(source, **HERE), file, "a pointer of git-lfs")
        file.write_bytes(before)
    mgt_core.load(openmuse, **HERE), mgt_core.load(halton, **HERE)


def test_files_as_they_should_be(whole):
    """Nothing is told of any file of a good bundle, nor of words that sites have in their answers."""
    for file in whole.rglob("*.*"):
        assert told_from(file.read_bytes()[:4096], file.suffix) is None, file
    for held in ({"message": 3}, {"error": ""}, {"name": "a", "type": "b"}, {"error": "a", "layers": 2}, {}):
        assert told_from(json.dumps(held).encode(), ".json") is None
    assert told_from(b"#version: 0.2\nt h\nr e\nnot found\n" + b"a b\n" * 200, ".txt") is None
    for content, ending in ((pickled(), ".pt"), (pickled(zipped=False), ".bin"), (SAFETENSORS, ".safetensors")):
        assert told_from(content, ending) is None


@given(st.binary(max_size=60), st.sampled_from([".safetensors", ".bin", ".pt", ".json", ".txt"]))
@settings(max_examples=300, deadline=None)
def test_any_beginning(content, ending):
    """Is told as one thing or nothing, of any bytes."""
    told = told_from(content, ending)
    assert told is None or (told.what and told.advice and "\n" not in told.what)
    assert told is not None or content


def test_a_text_that_is_cut_within_a_character():
    text = "Model n\u00e3o encontrado: 404 ".encode() * 400
    for length in range(4090, 4096):
        assert "a text" in told_from(text[:length], ".safetensors").what
