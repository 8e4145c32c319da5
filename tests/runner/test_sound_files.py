"""Sounds as they are read: kinds of files, broken ones, and where they may lie."""

import io
import os
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch

import run_workflow
from runner import sounds
from runner.problems import RunError
from support.fake_nodes import node, workflow
from support.trials import is_sentence


def test_other_kinds_need_the_package(load, without_package):
    with pytest.raises(RunError, match="sound 'a.wav' is FLAC, which takes the package soundfile"):
        load(b"fLaC" + bytes(100))
    with pytest.raises(RunError, match="sound 'a.wav' takes the package soundfile"):
        load(written("WAV", "FLOAT"))


def written(kind, subtype=None, channels=2, rate=22050):
    sound = (torch.arange(4000 * channels).reshape(-1, channels) % 200 - 100).float().numpy() / 128
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, subtype=subtype)
    return file.getvalue()


KINDS = {
    "8 bits": ("WAV", "PCM_U8", 1 / 128),
    "16 bits": ("WAV", "PCM_16", 1e-4),
    "24 bits": ("WAV", "PCM_24", 1e-6),
    "32 bits": ("WAV", "PCM_32", 1e-7),
    "floats": ("WAV", "FLOAT", 0),
    "FLAC": ("FLAC", "PCM_24", 1e-6),
    "AIFF": ("AIFF", "PCM_16", 1e-4),
    "Ogg": ("OGG", "VORBIS", None),
    "MP3": ("MP3", None, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_read(load, kind):
    name, subtype, near = KINDS[kind]
    found = load(written(name, subtype))
    assert found["sample_rate"] == 22050 and found["waveform"].dtype == torch.float32
    if near is not None:
        wanted = (torch.arange(8000).reshape(-1, 2) % 200 - 100).float().T[None] / 128
        torch.testing.assert_close(found["waveform"], wanted, rtol=0, atol=near)
    assert found["waveform"].shape[:2] == (1, 2) and found["waveform"].shape[2] >= 4000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_wav_is_read_the_same_without_the_package(load, monkeypatch, subtype):
    content = written("WAV", subtype)
    one = load(content)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    other = load(content)
    assert torch.equal(one["waveform"], other["waveform"]) and one["sample_rate"] == other["sample_rate"]


def head(frames=4, channels=1, rate=16000, data=b"\0" * 8):
    """WAV of 16 bits, whatever its head claims."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", frames * 2 % 2**32) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("package", [True, False])
def test_a_head_written_before_the_end_was_known(load, monkeypatch, package):
    """As of programs that write into a pipe."""
    if not package:
        monkeypatch.setitem(sys.modules, "soundfile", None)
    assert load(head(frames=2**31 - 1, data=bytes(800)))["waveform"].shape == (1, 1, 400)


UNREADABLE = {
    "empty": (b"", "is empty"),
    "a text": (b"not a sound", r"is none of a known kind \(WAV, FLAC, Ogg, MP3, AIFF\)"),
    "a web page": (b"<!doctype html><html>", "is a web page in the sound's place"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "is none of a known kind"),
    "a video": (b"\0\0\0\x20ftypM4A ", r"is of a kind that videos are of \(M4A, MP4, WebM\): save it as WAV or FLAC"),
    "Windows Media": (b"\x30\x26\xb2\x75\x8e\x66", "is Windows Media: save"),
    "MIDI": (b"MThd\0\0\0\6", "is MIDI"),
    "AAC": (b"\xff\xf1\x50\x80", "is AAC"),
    "nothing in it": (head(data=b""), "holds no samples"),
    "a head alone": (head()[:20], "cannot be read|holds no samples|samples a second"),
    "cut FLAC": (b"fLaC\0\0\0\x22" + bytes(34), "cannot be read"),
    "many channels": (head(channels=500), "has 500 channels; accepted are 1 to 8|cannot be read"),
}


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("content, sentence", UNREADABLE.values(), ids=UNREADABLE)
def test_sounds_that_cannot_be_read(load, monkeypatch, package, content, sentence):
    if not package:
        monkeypatch.setitem(sys.modules, "soundfile", None)
        sentence += "|(is FLAC, which )?takes the package soundfile|sampling rate"
    with pytest.raises(RunError, match=rf"sound 'a\.wav' ({sentence})") as told:
        load(content)
    assert is_sentence(str(told.value))


@pytest.mark.parametrize("package", [True, False])
def test_what_is_too_long_is_told_before_it_is_decoded(load, monkeypatch, package):
    if not package:
        monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setattr(sounds, "MOST_SECONDS", 2)
    monkeypatch.setattr(sounds, "BLOCK", 1000)
    load(written("WAV", "PCM_16", rate=2000))
    with pytest.raises(RunError, match=r"is 2 seconds long; accepted are 2 of 2 x 1999 Hz"):
        load(written("WAV", "PCM_16", rate=1999))
    monkeypatch.setattr(sounds, "MOST_SAMPLES", 7000)
    with pytest.raises(RunError, match=r"is 2 seconds long; accepted are 1 of 2 x 2000 Hz"):
        load(written("WAV", "PCM_16", rate=2000))
    monkeypatch.setattr(sounds, "MOST_BYTES", 7000)
    with pytest.raises(RunError, match="bytes; accepted are 7,000"):
        load(written("WAV", "PCM_16", rate=2000))


def test_floats_that_are_none(load):
    sound = np.array([0.0, np.nan, np.inf])
    file = io.BytesIO()
    soundfile.write(file, sound, 8000, format="WAV", subtype="FLOAT")
    with pytest.raises(RunError, match="sound 'a.wav' holds values that are not finite"):
        load(file.getvalue())


def test_names_of_sounds_stay_in_the_input_folders(library, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("secret.wav", "in/a.WAV", "in/sub/b.wav"):
        (tmp_path / name).write_bytes(head())
    os.mkfifo(tmp_path / "in" / "pipe.wav")
    check = library.classes["LoadAudio"].VALIDATE_INPUTS
    for name in ("a.WAV", "sub/b.wav", "a.WAV [input]"):
        assert check(name) is True and library.classes["LoadAudio"]().load(name)
    for name in ("../secret.wav", str(tmp_path / "secret.wav"), "pipe.wav", "", "x" * 100_000, "a\0", "\ud800", None):
        assert "Invalid audio file" in check(name) and is_sentence(check(name))
        with pytest.raises(RunError, match="Invalid audio file"):
            library.classes["LoadAudio"]().load(name)
    assert library.classes["LoadAudio"].INPUT_TYPES()["required"]["audio"][0] == ["a.WAV"]


def test_widgets_of_load_audio_as_front_ends_save_them(library, command, tmp_path):
    """Behind the name, what the player and the button for uploads keep."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(head())
    for widgets in (["a.wav", None, None], ["a.wav", "", ""], ["a.wav", ""], ["a.wav"]):
        graph = workflow(
            [node(1, "LoadAudio", widgets, outputs=("AUDIO",)), node(2, "SaveAudio", ["s"], [("audio", "AUDIO", 1)])],
            [(1, 1, 0, 2, 0, "AUDIO")],
        )
        assert run_workflow.to_api(graph, library.object_info)["1"]["inputs"] == {"audio": "a.wav"}
        assert command(graph)[0] == 0
