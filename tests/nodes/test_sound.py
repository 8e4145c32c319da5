"""Nodes of sound with a stand-in for MAGNeT: to sound and back."""

from dataclasses import replace

import numpy
import pytest
import torch

import mgt_core
from mgt_core.types import SOUND
from support.golden import bundles, pipeline
from support.node_runs import answer, run
from support.tones import BOOKS, FRAMES, HOP, RATE, tone

PICTURES_TOKENS = mgt_core.empty_tokens(pipeline(bundles()[0]), 64, 64)


# To sound


def test_text_to_sound(sound_pipe, made_sound):
    assert made_sound.tokens.shape == (2, BOOKS, FRAMES - FRAMES % 3)
    assert made_sound.makes == SOUND and not made_sound.masked.any()
    (audio,) = run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec)
    assert audio["sample_rate"] == RATE and isinstance(audio["sample_rate"], int)
    wave = audio["waveform"]
    assert wave.shape == (2, 1, made_sound.grid[1] * HOP) and wave.dtype == torch.float32 and wave.is_contiguous()
    assert wave.abs().max() <= 1 and all(float(each.std()) > 0 for each in wave)


def test_books_are_filled_one_after_the_other(made_sound):
    for book, (first, last) in enumerate([(0, 2), (3, 4), (5, 5), (6, 7)]):
        at = made_sound.revealed_at[:, book]
        assert int(at.min()) == first and int(at.max()) == last


def test_a_sound_of_a_batch_is_the_one_that_its_seed_gives_alone(sound_pipe, sound_graph, made_sound):
    tokens = run("MGTEmptySound", model=sound_pipe.model)[0]
    alone = run("MGTSample", **sound_graph, tokens=tokens, seed=4)[0]
    assert torch.equal(alone.tokens[0], made_sound.tokens[1])


@pytest.mark.parametrize(
    "seconds, frames, words", [(0.0, 50, None), (0.5, 25, None), (2.0, 100, "2 s: trained at 1 s")]
)
def test_empty_sound_is_as_long_as_asked_for(sound_pipe, shown, seconds, frames, words):
    tokens = run("MGTEmptySound", model=sound_pipe.model, seconds=seconds, batch_size=2)[0]
    assert tokens.tokens.shape == (2, BOOKS, frames) and tokens.masked.all() and tokens.makes == SOUND
    assert bool(shown) == (words is not None) and all(words in text for text in shown)


def test_a_sound_of_no_frame_gets_one_sentence(sound_pipe):
    with pytest.raises(mgt_core.MGTError, match="give at least 0.02"):
        run("MGTEmptySound", model=sound_pipe.model, seconds=0.01)


# Levels


def with_peaks(monkeypatch, sound_pipe, *peaks):
    """A codec whose sounds have these."""
    wave = torch.tensor(peaks).reshape(-1, 1, 1) * torch.tensor([0.5, -1.0, 0.25])
    monkeypatch.setattr(type(sound_pipe.codec), "decode", lambda self, tokens: wave)
    return wave


@pytest.mark.parametrize(
    "level, peaks, words",
    [
        ("no clipping", (0.5, 1.0, 0.0), "Turned down, since the loudest moment was 1.6 times full scale."),
        ("full scale", (1.0, 1.0, 0.0), "Turned down, since the loudest moment was 1.6 times full scale."),
        ("as it is", (0.5, 1.6, 0.0), "The loudest moment is 1.6 times full scale: a file of sound will be cut off"),
    ],
)
def test_each_sound_has_the_level_asked_for(monkeypatch, sound_pipe, made_sound, shown, level, peaks, words):
    raw = with_peaks(monkeypatch, sound_pipe, 0.5, 1.6, 0.0)
    wave = run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec, level=level)[0]["waveform"]
    torch.testing.assert_close(wave.abs().amax((1, 2)), torch.tensor(peaks))
    assert torch.equal(wave[0], raw[0]) == (level != "full scale")  # not touched, or as loud as it can be
    assert len(shown) == 1 and shown[0].startswith(words)


@pytest.mark.parametrize("level", ["no clipping", "as it is", "full scale"])
def test_what_fits_is_not_told(monkeypatch, sound_pipe, made_sound, shown, level):
    with_peaks(monkeypatch, sound_pipe, 0.5, 1.0)
    run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec, level=level)
    assert shown == []


def test_a_level_that_is_none_names_those_there_are(sound_pipe, made_sound):
    with pytest.raises(mgt_core.MGTError, match="level is 'loud', but the known ones are no clipping"):
        run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec, level="loud")


def test_what_decoding_costs_is_told(monkeypatch, sound_pipe, made_sound, shown):
    monkeypatch.setattr(type(sound_pipe.codec), "decode_note", lambda self, grid: f"{grid[1]} frames take much memory")
    run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec, level="as it is")
    assert shown[0] == "48 frames take much memory"


def test_what_decoding_costs_stays_beside_what_is_said_of_the_level(monkeypatch, sound_pipe, made_sound, shown):
    """A node shows the last text alone."""
    monkeypatch.setattr(type(sound_pipe.codec), "decode_note", lambda self, grid: "It takes much memory")
    with_peaks(monkeypatch, sound_pipe, 0.5, 1.6)
    run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec, level="no clipping")
    assert shown[-1].startswith("It takes much memory\nTurned down, since")


# From sound


def encoded(sound_pipe, audio, **settings):
    return run("MGTEncodeAudio", model=sound_pipe.model, codec=sound_pipe.codec, audio=audio, **settings)[0]


def test_any_sound_is_converted(sound_pipe):
    plain = encoded(sound_pipe, tone())
    assert plain.tokens.shape == (1, BOOKS, 25) and plain.strength == 0.6 and plain.makes == SOUND
    assert torch.equal(encoded(sound_pipe, tone(channels=2)).tokens, plain.tokens)
    assert encoded(sound_pipe, tone(rate=8000, batch=3)).tokens.shape == (3, BOOKS, 25)
    assert torch.equal(encoded(sound_pipe, tone(), convert=False).tokens, plain.tokens)


@pytest.mark.parametrize(
    "other, words",
    [({"rate": 8000}, "the sound has 8000 samples a second and this model 1600"), ({"channels": 2}, "2 channels")],
)
def test_unconverted_sound_of_another_kind_is_refused(sound_pipe, other, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        encoded(sound_pipe, tone(**other), convert=False)


def test_a_long_sound_is_encoded_and_told(sound_pipe, shown):
    assert encoded(sound_pipe, tone(1.5)).grid == (BOOKS, 75) and "trained at 1 s" in shown[0]


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_strength_says_how_much_is_varied(sound_pipe, sound_graph, strength):
    tokens = encoded(sound_pipe, tone(0.6), strength=strength)
    varied = run("MGTSample", **sound_graph, tokens=tokens, sampler=mgt_core.MaskGIT())[0]
    same = float((varied.tokens == tokens.tokens).float().mean())
    assert same == 1 if strength == 0 else 0 < same < 1 if strength < 1 else same < 0.5


BAD = {
    "nothing": (None, "audio is nothing; expected sound"),
    "a picture": (torch.rand(1, 8, 8, 3), "audio is a picture or mask; expected sound"),
    "no rate": ({"waveform": torch.zeros(1, 1, 9)}, "expected sound, as ComfyUI's Load Audio gives"),
    "no tensor": ({"waveform": [0.0], "sample_rate": 9}, "audio is a waveform of a list"),
    "whole numbers": ({"waveform": torch.zeros(1, 1, 9, dtype=torch.int16), "sample_rate": 9}, "torch.int16"),
    "two dimensions": ({"waveform": torch.zeros(1, 9), "sample_rate": 9}, r"shape \[1, 9\]"),
    "no samples": ({"waveform": torch.zeros(1, 1, 0), "sample_rate": 9}, r"shape \[1, 1, 0\]"),
    "not finite": ({"waveform": torch.full((1, 1, 9), torch.nan), "sample_rate": 9}, "values that are no numbers"),
    "no time": ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 0}, "sample_rate of audio is 0"),
    "a rate of none": ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 2**20 + 1}, "sample_rate of audio is 1048577"),
    "half a sample": ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 8000.5}, "sample_rate of audio is 8000.5"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("node", ["MGTEncodeAudio", "MGTSpectrogram"])
def test_what_is_no_sound_gets_one_sentence(sound_pipe, node, name):
    audio, words = BAD[name]
    parts = {"model": sound_pipe.model, "codec": sound_pipe.codec} if node == "MGTEncodeAudio" else {}
    with pytest.raises(mgt_core.MGTError, match=words):
        run(node, **parts, audio=audio)


def test_rates_of_other_libraries_are_numbers(sound_pipe):
    audio = tone() | {"sample_rate": numpy.int64(RATE)}
    assert torch.equal(encoded(sound_pipe, audio).tokens, encoded(sound_pipe, tone()).tokens)


# Ranges and continuation


@pytest.mark.parametrize("end, frames", [(0.5, slice(10, 25)), (0.0, slice(10, None)), (99.0, slice(10, None))])
def test_a_range_is_made_anew_and_the_rest_stays(sound_pipe, sound_graph, made_sound, shown, end, frames):
    masked = run("MGTMaskSound", model=sound_pipe.model, tokens=made_sound, start=0.2, end=end)[0]
    free = torch.zeros_like(masked.masked)
    free[:, :, frames] = True
    assert torch.equal(masked.masked, free)
    seconds = int(free[0, 0].sum()) * HOP / RATE
    assert shown == [f"{seconds:.4g} s of 0.96 s are free to be made anew."]
    again = run("MGTSample", **sound_graph, tokens=masked, seed=9)[0]
    assert torch.equal(again.tokens[~free], made_sound.tokens[~free]) and not again.masked.any()
    assert not torch.equal(again.tokens, made_sound.tokens)


@pytest.mark.parametrize(
    "start, end, words", [(0.5, 0.2, "its end has to be after its start"), (2.0, 0.0, "its end has to be after"),
                          (2.0, 3.0, "begins at 2 s, and the sound ends at 0.96 s")],
)  # fmt: skip
def test_a_range_that_is_none_gets_one_sentence(sound_pipe, made_sound, start, end, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTMaskSound", model=sound_pipe.model, tokens=made_sound, start=start, end=end)


def test_a_sound_goes_on(sound_pipe, sound_graph, shown):
    given = encoded(sound_pipe, tone(0.5))
    longer = run("MGTExtendSound", model=sound_pipe.model, tokens=given, before=0.06, after=0.4)[0]
    assert longer.grid == (BOOKS, 3 + 25 + 20) and shown == []
    made = run("MGTSample", **sound_graph, tokens=longer)[0]
    assert torch.equal(made.tokens[:, :, 3:28], given.tokens) and not made.masked.any()
    run("MGTExtendSound", model=sound_pipe.model, tokens=given, after=5.0)
    assert "trained at 1 s" in shown[0]


# Looked at


def test_a_spectrogram_of_every_sound(sound_pipe, made_sound):
    image = run("MGTSpectrogram", audio=run("MGTDecodeAudio", tokens=made_sound, codec=sound_pipe.codec)[0])[0]
    assert image.ndim == 4 and image.shape[0] == 2 and image.shape[-1] == 3 and 0 <= image.min() < image.max() <= 1
    assert not torch.equal(image[0], image[1])


@pytest.mark.parametrize("name", ["MGTRevealOrder", "MGTConfidenceMap"])
def test_charts_of_time_and_books(sound_pipe, made_sound, name):
    image = run(name, tokens=made_sound, codec=sound_pipe.codec)[0]
    assert image.shape[0] == 2 and image.shape[2] > image.shape[1] and not torch.equal(image[0], image[1])
    with pytest.raises(mgt_core.MGTError, match="image is given and the codec is of sound"):
        run(name, tokens=made_sound, codec=sound_pipe.codec, image=torch.rand(2, 8, 8, 3))
    with pytest.raises(mgt_core.MGTError, match="the tokens carry no"):
        run(name, tokens=replace(made_sound, revealed_at=None, confidence=None), codec=sound_pipe.codec)
    with pytest.raises(mgt_core.MGTError, match="codec was made for another model"):
        run(name, tokens=PICTURES_TOKENS, codec=sound_pipe.codec)


def test_a_run_is_played_step_by_step(sound_pipe, made_sound):
    frames = answer("MGTSamplingAnimation", tokens=made_sound, codec=sound_pipe.codec, hold_last=0.0)["result"][0]
    assert len(frames) == 1 + 8 and frames.shape[2] >= made_sound.grid[1]
    assert not torch.equal(frames[0], frames[-1])
