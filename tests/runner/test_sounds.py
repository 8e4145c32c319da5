"""Sounds: how they are named, what they carry, and how they come back."""

import errno
import json
import os
import sys
import wave

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run_workflow
from runner.files import Document, read_document
from runner.problems import RunError
from runner.settings import apply_settings
from support.fake_nodes import node, workflow
from support.prompts import api
from support.trials import is_sentence

CLIPPED = "what is beyond -1 to 1 is cut off, as ComfyUI does"


def tones(prefix="audio/tone", batch=2):
    return workflow(
        [node(1, "Tone", [batch], outputs=("AUDIO",)), node(2, "SaveAudio", [prefix], [("audio", "AUDIO", 1)])],
        [(1, 1, 0, 2, 0, "AUDIO")],
    )


def audio(values, rate=16000):
    return {"waveform": torch.as_tensor(values, dtype=torch.float32), "sample_rate": rate}


@pytest.fixture
def save(library):
    def run(values, prefix="s", rate=16000, **more):
        return library.classes["SaveAudio"]().save(audio(values, rate), prefix, **more)["ui"]["saved"]

    return run


def test_sounds_carry_their_workflow(command, tmp_path, library):
    graph = tones()
    code, out, err = command(graph, "--set", "1.batch=1")
    saved = tmp_path / "out" / "audio" / "tone_00001_.flac"
    assert (code, out, err) == (0, f"Saved {saved}\n", "")
    assert soundfile.info(saved).subtype == "PCM_16" and soundfile.info(saved).samplerate == 16000
    assert read_document(saved) == Document(ui=apply_settings(graph, ["1.batch=1"], library.object_info))


def test_a_sound_can_be_run(command, tmp_path):
    command(tones(batch=1))
    first, second = (tmp_path / "out" / "audio" / f"tone_0000{number}_.flac" for number in (1, 2))
    code, out, _ = command(first)
    assert (code, out) == (0, f"Saved {second}\n")
    assert first.read_bytes() == second.read_bytes()


def test_a_sound_of_a_prompt_can_be_run(command, tmp_path, library):
    prompt = run_workflow.to_api(tones(batch=1), library.object_info)
    command(prompt)
    saved = tmp_path / "out" / "audio" / "tone_00001_.flac"
    assert read_document(saved) == Document(api=prompt)
    assert command(saved)[0] == 0


def test_a_sound_without_a_workflow(command, tmp_path):
    soundfile.write(tmp_path / "bare.flac", np.zeros(9), 8000)
    code, _, err = command(tmp_path / "bare.flac")
    assert code == 1 and err.endswith("bare.flac is a FLAC sound without a workflow in it.\n")
    (tmp_path / "cut.flac").write_bytes(b"fLaC\0\0")
    assert "cut.flac is a damaged FLAC sound (it is cut off)" in command(tmp_path / "cut.flac")[2]


def test_nothing_is_overwritten(command, tmp_path):
    out = tmp_path / "out" / "audio"
    out.mkdir(parents=True)
    (out / "tone_00007.flac").write_bytes(b"mine")  # as newer hosts name them
    (out / "tone_00003_.wav").write_bytes(b"mine")
    command(tones())
    names = {"tone_00007.flac", "tone_00003_.wav", "tone_00008_.flac", "tone_00009_.flac"}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "tone_00007.flac").read_bytes() == b"mine"


def test_places_in_the_batch(save):
    assert [path.name for path in save(torch.zeros(2, 1, 8), "x%batch_num%")] == ["x0_00001_.flac", "x1_00002_.flac"]


def test_previews_go_to_a_folder_of_their_own(command, tmp_path):
    command(api(n1=("Tone", {"batch": 1}), n2=("PreviewAudio", {"audio": ["1", 0]})))
    assert [p.name for p in (tmp_path / "out" / "temp").iterdir()] == ["ComfyUI_temp_00001_.flac"]


def test_what_is_saved_goes_on(library):
    given = audio(torch.zeros(1, 1, 8))
    assert library.classes["SaveAudio"]().save(given, "s")["result"] == (given,)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    levels=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=200),
    channels=st.sampled_from([1, 2]),
    rate=st.sampled_from([1, 8000, 16000, 32000, 44100, 96000]),
)
@pytest.mark.parametrize("package", [True, False])
def test_sounds_come_back_as_they_were_saved(save, library, tmp_path, package, levels, channels, rate):
    values = torch.tensor(levels)[None, None].expand(1, channels, -1) / 2**15
    with pytest.MonkeyPatch.context() as patch:
        if not package:
            patch.setitem(sys.modules, "soundfile", None)
        (path,) = save(values, rate=rate)
        assert path.suffix == (".flac" if package else ".wav")
        (tmp_path / "in").mkdir(exist_ok=True)
        path.rename(tmp_path / "in" / path.name)
        (found,) = library.classes["LoadAudio"]().load(path.name)
    assert found["sample_rate"] == rate and torch.equal(found["waveform"], values)


def test_rounding_and_clipping_are_the_hosts(save, caplog):
    """The levels that ComfyUI writes of these, through its library (18.1.0)."""
    (path,) = save([[[0, 1, -1, 1.5, -2, 0.5, 1 / 65536, 3 / 65536, 0.1]]])
    assert soundfile.read(path, dtype="int16")[0].tolist() == [0, 32767, -32768, 32767, -32768, 16384, 0, 2, 3277]
    (told,) = caplog.messages
    assert told == f"The sound reaches 2.00; {CLIPPED}"


def test_clipping_is_told_once(save, caplog):
    save(torch.full((3, 2, 9), 1.25))
    assert len(caplog.messages) == 1
    save(torch.ones(3, 2, 9))
    assert len(caplog.messages) == 1, "the ends themselves are told of"


def test_without_the_package(command, tmp_path, without_package):
    code, out, err = command(tones(batch=2))
    first, second = (tmp_path / "out" / "audio" / f"tone_0000{number}_.wav" for number in (1, 2))
    assert (code, out) == (0, f"Saved {first}\nSaved {second}\n")
    with wave.open(str(first)) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 640)


def test_without_the_package_it_is_said_once(save, caplog, without_package):
    save(torch.zeros(3, 1, 9))
    assert caplog.messages == [
        "Sounds are saved as WAV, without their workflow; for FLAC install the package soundfile"
    ]


def test_mp3_needs_the_package(library, without_package):
    with pytest.raises(RunError, match="MP3 takes the package soundfile"):
        library.classes["SaveAudioMP3"]().save(audio(torch.zeros(1, 1, 99)), "s")


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 44100])
def test_mp3(library, rate):
    wave_ = torch.sin(torch.arange(4 * rate) * (2 * np.pi * 440 / rate))[None, None] / 2
    sizes = {}
    for quality in ("V0", "128k", "320k"):
        node_ = library.classes["SaveAudioMP3"]()
        (path,) = node_.save(audio(wave_, rate), "s", quality)["ui"]["saved"]
        assert path.suffix == ".mp3"
        sizes[quality] = path.stat().st_size * 8 / 4000  # kbit/s
        sound, found = soundfile.read(path, dtype="float32")
        kept = torch.from_numpy(sound)[rate : 2 * rate].square().mean().sqrt()
        assert found == rate and abs(float(kept) - 0.5 / 2**0.5) < 0.02
    if rate >= 16000:
        assert abs(sizes["128k"] - 128) < 12
    assert sizes["128k"] < sizes["320k"]


def test_mp3_of_other_rates_and_qualities(library):
    with pytest.raises(RunError, match="a sound of 12345 Hz cannot be written as MP3") as told:
        library.classes["SaveAudioMP3"]().save(audio(torch.zeros(1, 1, 9), 12345), "s")
    assert is_sentence(str(told.value)) and "object at" not in str(told.value)
    with pytest.raises(RunError, match="quality is '64k'; accepted are V0, 128k, 320k"):
        library.classes["SaveAudioMP3"]().save(audio(torch.zeros(1, 1, 9)), "s", "64k")


SOUNDS = {
    "none": (None, "audio is NoneType; expected a waveform"),
    "no rate": ({"waveform": torch.zeros(1, 1, 4)}, "audio is dict; expected a waveform and its sample_rate"),
    "NaN": (audio([[[0.0]], [[float("nan")]]]), "sound 2 of 2 holds values that are not finite"),
    "six channels": (audio(torch.zeros(1, 6, 4)), r"the waveform is \[1, 6, 4\]; expected sounds of shape"),
    "no batch": (audio(torch.zeros(1, 4)), r"the waveform is \[1, 4\]"),
    "no sound": (audio(torch.zeros(0, 1, 4)), r"the waveform is \[0, 1, 4\]"),
    "no samples": (audio(torch.zeros(1, 1, 0)), r"the waveform is \[1, 1, 0\]"),
    "whole numbers": ({"waveform": torch.zeros(1, 1, 4).short(), "sample_rate": 9}, "the waveform is of torch.int16"),
    "without values": ({"waveform": torch.zeros(1, 1, 4, device="meta"), "sample_rate": 9}, "is without values"),
    "huge": (audio(torch.zeros(1, 1, 1).expand(1, 2, 2**40)), "seconds long; accepted are 2,097 of 2 x 16000 Hz"),
    "many": (audio(torch.zeros(1, 1, 1).expand(2**40, 1, 4)), "4096 at once can be saved"),
    "a rate of a text": (audio(torch.zeros(1, 1, 4), "fast"), "sample_rate is 'fast'; expected a whole number"),
    "a broken rate": (audio(torch.zeros(1, 1, 4), 0.5), "sample_rate is '0.5'"),
    "an infinite rate": (audio(torch.zeros(1, 1, 4), float("inf")), "sample_rate is 'inf'"),
    "no rate at all": (audio(torch.zeros(1, 1, 4), 0), "has 0 samples a second; accepted are 1 to 655350"),
}


@pytest.mark.parametrize("given, sentence", SOUNDS.values(), ids=SOUNDS)
def test_what_is_no_sound_is_not_saved_as_one(library, tmp_path, given, sentence):
    with pytest.raises(RunError, match=sentence) as told:
        library.classes["SaveAudio"]().save(given, "s")
    assert is_sentence(str(told.value)) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "../x", "/tmp/x", "a\0b", "x" * 201])
def test_prefixes_that_name_no_file_below_the_output(library, tmp_path, prefix):
    told = library.classes["SaveAudio"].VALIDATE_INPUTS(prefix)
    assert is_sentence(told)
    with pytest.raises(RunError):
        library.classes["SaveAudio"]().save(audio(torch.zeros(1, 1, 4)), prefix)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="nothing there is always full")
def test_a_full_disk_leaves_no_sound(command, tmp_path, monkeypatch):
    def full(stream, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("runner.writing.os.fsync", lambda number: full(None, None))
    code, _, err = command(tones())
    assert code == 1 and err.endswith("(SaveAudio): No space left on device\n")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_odd_notes_beside_the_workflow(save):
    (path,) = save(torch.zeros(1, 1, 9), extra_pnginfo={"workflow": {"é\0": float("nan")}, "é": 1, "": 2, "a=b": 3})
    assert b"workflow=" in path.read_bytes() and b"a=b" not in path.read_bytes()
    assert json.loads(path.read_bytes().split(b"workflow=")[1].split(b"}")[0] + b"}")


def test_a_workflow_too_long_for_flac(save, caplog):
    """Which no front end makes; the sound is not lost by it."""
    (path,) = save(torch.zeros(1, 1, 9), prompt={"a": "x" * 2**24})
    assert soundfile.info(path).frames == 9
    assert caplog.messages == ["The sound does not carry its workflow, which is longer than FLAC takes"]
