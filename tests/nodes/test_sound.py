"""Nodes of sound with a stand-in for MAGNeT: to sound and back, and what other nodes say to it."""

import sys
from dataclasses import replace

import numpy
import pytest
import torch

import mgt_core
from mgt_core.types import SOUND
from support.bundles import magnet_bundle
from support.device import DEVICE
from support.golden import bundles, pipeline
from support.node_runs import NODES, answer, run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
PICTURES = pipeline(bundles()[0])
RATE, HOP, BOOKS, FRAMES = 1600, 32, 4, 50  # of the stand-in; a second


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return mgt_core.load(magnet_bundle(tmp_path_factory.mktemp("magnet")), device=DEVICE)


@pytest.fixture(scope="module")
def graph(pipe):
    """The inputs of MGT Sample but for tokens."""
    return {
        "model": pipe.model,
        "positive": run("MGTTextEncode", text="a bell", text_encoder=pipe.text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=pipe.text)[0],
        "steps": 8,
    }


@pytest.fixture(scope="module")
def filled(pipe, graph):
    return run("MGTSample", **graph, tokens=run("MGTEmptySound", model=pipe.model, batch_size=2)[0], seed=3)[0]


@pytest.fixture
def shown(monkeypatch):
    """What is written under nodes."""
    texts = []
    monkeypatch.setattr(host, "show_text", lambda text, node_id: texts.append(text))
    return texts


def tone(seconds=0.5, rate=RATE, channels=1, batch=1, hertz=100.0):
    wave = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)
    return {"waveform": wave.expand(batch, channels, -1).clone(), "sample_rate": rate}


# To sound


def test_text_to_sound(pipe, filled):
    assert filled.makes == SOUND and filled.tokens.shape == (2, BOOKS, FRAMES - FRAMES % 3) and not filled.masked.any()
    (audio,) = run("MGTDecodeAudio", tokens=filled, codec=pipe.codec)
    assert audio["sample_rate"] == RATE and isinstance(audio["sample_rate"], int)
    wave = audio["waveform"]
    assert wave.shape == (2, 1, filled.grid[1] * HOP) and wave.dtype == torch.float32 and wave.is_contiguous()
    assert wave.abs().max() <= 1 and all(float(each.std()) > 0 for each in wave)


def test_books_are_filled_one_after_the_other(filled):
    for book, (first, last) in enumerate([(0, 2), (3, 4), (5, 5), (6, 7)]):
        at = filled.revealed_at[:, book]
        assert int(at.min()) == first and int(at.max()) == last


def test_a_sound_of_a_batch_is_the_one_that_its_seed_gives_alone(pipe, graph, filled):
    tokens = run("MGTEmptySound", model=pipe.model)[0]
    alone = run("MGTSample", **graph, tokens=tokens, seed=4)[0]
    assert torch.equal(alone.tokens[0], filled.tokens[1])


@pytest.mark.parametrize(
    "seconds, frames, words", [(0.0, 50, None), (0.5, 25, None), (2.0, 100, "2 s: trained at 1 s")]
)
def test_empty_sound_is_as_long_as_asked_for(pipe, shown, seconds, frames, words):
    tokens = run("MGTEmptySound", model=pipe.model, seconds=seconds, batch_size=2)[0]
    assert tokens.tokens.shape == (2, BOOKS, frames) and tokens.masked.all() and tokens.makes == SOUND
    assert bool(shown) == (words is not None) and all(words in text for text in shown)


def test_a_sound_of_no_frame_gets_one_sentence(pipe):
    with pytest.raises(mgt_core.MGTError, match="give at least 0.02"):
        run("MGTEmptySound", model=pipe.model, seconds=0.01)


# Levels


def with_peaks(monkeypatch, pipe, *peaks):
    """A codec whose sounds have these."""
    wave = torch.tensor(peaks).reshape(-1, 1, 1) * torch.tensor([0.5, -1.0, 0.25])
    monkeypatch.setattr(type(pipe.codec), "decode", lambda self, tokens: wave)
    return wave


@pytest.mark.parametrize(
    "level, peaks, words",
    [
        ("no clipping", (0.5, 1.0, 0.0), "Turned down, since the loudest moment was 1.6 times full scale."),
        ("full scale", (1.0, 1.0, 0.0), "Turned down, since the loudest moment was 1.6 times full scale."),
        ("as it is", (0.5, 1.6, 0.0), "The loudest moment is 1.6 times full scale: a file of sound will be cut off"),
    ],
)
def test_each_sound_has_the_level_asked_for(monkeypatch, pipe, filled, shown, level, peaks, words):
    raw = with_peaks(monkeypatch, pipe, 0.5, 1.6, 0.0)
    wave = run("MGTDecodeAudio", tokens=filled, codec=pipe.codec, level=level)[0]["waveform"]
    torch.testing.assert_close(wave.abs().amax((1, 2)), torch.tensor(peaks))
    assert torch.equal(wave[0], raw[0]) == (level != "full scale")  # not touched, or as loud as it can be
    assert len(shown) == 1 and shown[0].startswith(words)


@pytest.mark.parametrize("level", ["no clipping", "as it is", "full scale"])
def test_what_fits_is_not_told(monkeypatch, pipe, filled, shown, level):
    with_peaks(monkeypatch, pipe, 0.5, 1.0)
    run("MGTDecodeAudio", tokens=filled, codec=pipe.codec, level=level)
    assert shown == []


def test_a_level_that_is_none_names_those_there_are(pipe, filled):
    with pytest.raises(mgt_core.MGTError, match="level is 'loud', but the known ones are no clipping"):
        run("MGTDecodeAudio", tokens=filled, codec=pipe.codec, level="loud")


def test_what_decoding_costs_is_told(monkeypatch, pipe, filled, shown):
    monkeypatch.setattr(type(pipe.codec), "decode_note", lambda self, grid: f"{grid[1]} frames take much memory")
    run("MGTDecodeAudio", tokens=filled, codec=pipe.codec, level="as it is")
    assert shown[0] == "48 frames take much memory"


# From sound


def encoded(pipe, audio, **settings):
    return run("MGTEncodeAudio", model=pipe.model, codec=pipe.codec, audio=audio, **settings)[0]


def test_any_sound_is_converted(pipe):
    plain = encoded(pipe, tone())
    assert plain.tokens.shape == (1, BOOKS, 25) and plain.strength == 0.6 and plain.makes == SOUND
    assert torch.equal(encoded(pipe, tone(channels=2)).tokens, plain.tokens)
    assert encoded(pipe, tone(rate=8000, batch=3)).tokens.shape == (3, BOOKS, 25)
    assert torch.equal(encoded(pipe, tone(), convert=False).tokens, plain.tokens)


@pytest.mark.parametrize(
    "other, words",
    [({"rate": 8000}, "the sound has 8000 samples a second and this model 1600"), ({"channels": 2}, "2 channels")],
)
def test_unconverted_sound_of_another_kind_is_refused(pipe, other, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        encoded(pipe, tone(**other), convert=False)


def test_a_long_sound_is_encoded_and_told(pipe, shown):
    assert encoded(pipe, tone(1.5)).grid == (BOOKS, 75) and "trained at 1 s" in shown[0]


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_strength_says_how_much_is_varied(pipe, graph, strength):
    tokens = encoded(pipe, tone(0.6), strength=strength)
    varied = run("MGTSample", **graph, tokens=tokens, sampler=mgt_core.MaskGIT())[0]
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
    "half a sample": ({"waveform": torch.zeros(1, 1, 9), "sample_rate": 8000.5}, "sample_rate of audio is 8000.5"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("node", ["MGTEncodeAudio", "MGTSpectrogram"])
def test_what_is_no_sound_gets_one_sentence(pipe, node, name):
    audio, words = BAD[name]
    parts = {"model": pipe.model, "codec": pipe.codec} if node == "MGTEncodeAudio" else {}
    with pytest.raises(mgt_core.MGTError, match=words):
        run(node, **parts, audio=audio)


def test_rates_of_other_libraries_are_numbers(pipe):
    audio = tone() | {"sample_rate": numpy.int64(RATE)}
    assert torch.equal(encoded(pipe, audio).tokens, encoded(pipe, tone()).tokens)


# Ranges and continuation


@pytest.mark.parametrize("end, frames", [(0.5, slice(10, 25)), (0.0, slice(10, None)), (99.0, slice(10, None))])
def test_a_range_is_made_anew_and_the_rest_stays(pipe, graph, filled, shown, end, frames):
    masked = run("MGTMaskSound", model=pipe.model, tokens=filled, start=0.2, end=end)[0]
    free = torch.zeros_like(masked.masked)
    free[:, :, frames] = True
    assert torch.equal(masked.masked, free)
    seconds = int(free[0, 0].sum()) * HOP / RATE
    assert shown == [f"{seconds:.4g} s of 0.96 s are free to be made anew."]
    again = run("MGTSample", **graph, tokens=masked, seed=9)[0]
    assert torch.equal(again.tokens[~free], filled.tokens[~free]) and not again.masked.any()
    assert not torch.equal(again.tokens, filled.tokens)


@pytest.mark.parametrize(
    "start, end, words", [(0.5, 0.2, "its end has to be after its start"), (2.0, 0.0, "its end has to be after"),
                          (2.0, 3.0, "begins at 2 s, and the sound ends at 0.96 s")],
)  # fmt: skip
def test_a_range_that_is_none_gets_one_sentence(pipe, filled, start, end, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTMaskSound", model=pipe.model, tokens=filled, start=start, end=end)


def test_a_sound_goes_on(pipe, graph, shown):
    given = encoded(pipe, tone(0.5))
    longer = run("MGTExtendSound", model=pipe.model, tokens=given, before=0.06, after=0.4)[0]
    assert longer.grid == (BOOKS, 3 + 25 + 20) and shown == []
    made = run("MGTSample", **graph, tokens=longer)[0]
    assert torch.equal(made.tokens[:, :, 3:28], given.tokens) and not made.masked.any()
    run("MGTExtendSound", model=pipe.model, tokens=given, after=5.0)
    assert "trained at 1 s" in shown[0]


# Looked at


def test_a_spectrogram_of_every_sound(pipe, filled):
    image = run("MGTSpectrogram", audio=run("MGTDecodeAudio", tokens=filled, codec=pipe.codec)[0])[0]
    assert image.ndim == 4 and image.shape[0] == 2 and image.shape[-1] == 3 and 0 <= image.min() < image.max() <= 1
    assert not torch.equal(image[0], image[1])


@pytest.mark.parametrize("name", ["MGTRevealOrder", "MGTConfidenceMap"])
def test_charts_of_time_and_books(pipe, filled, name):
    image = run(name, tokens=filled, codec=pipe.codec)[0]
    assert image.shape[0] == 2 and image.shape[2] > image.shape[1] and not torch.equal(image[0], image[1])
    with pytest.raises(mgt_core.MGTError, match="image is given and the codec is of sound"):
        run(name, tokens=filled, codec=pipe.codec, image=torch.rand(2, 8, 8, 3))
    with pytest.raises(mgt_core.MGTError, match="the tokens carry no"):
        run(name, tokens=replace(filled, revealed_at=None, confidence=None), codec=pipe.codec)
    with pytest.raises(mgt_core.MGTError, match="codec was made for another model"):
        run(name, tokens=PICTURES_TOKENS, codec=pipe.codec)


def test_a_run_is_played_step_by_step(pipe, filled):
    frames = answer("MGTSamplingAnimation", tokens=filled, codec=pipe.codec, hold_last=0.0)["result"][0]
    assert len(frames) == 1 + 8 and frames.shape[2] >= filled.grid[1]
    assert not torch.equal(frames[0], frames[-1])


# What is of the one to the other

PICTURES_TOKENS = mgt_core.empty_tokens(PICTURES, 64, 64)
OTHER = {
    "MGTEmptyTokens": "MGT Empty Sound Tokens",
    "MGTEncodeImage": "MGT Encode Audio",
    "MGTMaskTokens": "MGT Mask Sound",
    "MGTPadTokens": "MGT Extend Sound",
    "MGTDecode": "MGT Decode Audio",
    "MGTCaption": None,
    "MGTEditReference": None,
    "MGTEditPrompt": None,
}


def inputs_of(name, pipe, tokens):
    """Some of every kind that a node takes, its parts those of a bundle."""
    own = {"MGT_MODEL": pipe.model, "MGT_CODEC": pipe.codec, "MGT_TEXT": pipe.text, "MGT_TOKENS": tokens}
    own |= {"IMAGE": torch.rand(1, 64, 64, 3), "MASK": torch.ones(1, 64, 64), "AUDIO": tone()}
    return {key: own[kind] for key, (kind, _) in NODES[name].INPUT_TYPES()["required"].items() if str(kind) in own}


@pytest.mark.parametrize("name", OTHER)
def test_nodes_of_pictures_name_what_to_take_for_sound(pipe, filled, name):
    instead = f": take {OTHER[name]}$" if OTHER[name] else "$"
    with pytest.raises(mgt_core.MGTError, match=r"of sound, and MGT [\w ]+ is for pictures" + instead):
        run(name, **inputs_of(name, pipe, filled))


@pytest.mark.parametrize("name", [name for name, cls in NODES.items() if getattr(cls, "FOR", None) == SOUND])
def test_nodes_of_sound_name_what_to_take_for_pictures(name):
    instead = next((other for other, own in OTHER.items() if own == NAMES[name]))
    with pytest.raises(mgt_core.MGTError, match=f"of pictures, and {NAMES[name]} is for sound: take {NAMES[instead]}$"):
        run(name, **inputs_of(name, PICTURES, PICTURES_TOKENS))


NAMES = sys.modules[f"{ALIAS}.nodes"].NODE_DISPLAY_NAME_MAPPINGS


def conditioned(graph, **extra):
    ((hidden, own),) = graph["positive"]
    return graph | {"positive": [[hidden, {**own, **extra}]]}


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"area": (8, 8, 0, 0)}, "the positive conditioning has an area, which is a place in a picture"),
        ({"mask": torch.ones(1, 8, 8)}, "the positive conditioning has a mask, which is a place in a picture"),
    ],
)
def test_places_have_no_meaning_in_sound(pipe, graph, extra, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTSample", **conditioned(graph, **extra), tokens=run("MGTEmptySound", model=pipe.model)[0])


def test_micro_conditions_have_no_meaning_in_sound(pipe, graph):
    micro = run("MGTMicroConditions", conditioning=graph["positive"])[0]
    with pytest.raises(mgt_core.MGTError, match="micro-conditions, which are of pictures; this model makes sound"):
        run("MGTSample", **graph | {"positive": micro}, tokens=run("MGTEmptySound", model=pipe.model)[0])


def test_time_ranges_and_strengths_of_prompts_act(pipe, graph):
    tokens = run("MGTEmptySound", model=pipe.model)[0]
    ((hidden, own),) = graph["positive"]
    other = run("MGTTextEncode", text="a flute and a drum", text_encoder=pipe.text)[0][0]
    whole = run("MGTSample", **graph, tokens=tokens)[0]
    early = [[hidden, {**own, "end_percent": 0.5}], [other[0], {**other[1], "start_percent": 0.5}]]
    mixed = [[hidden, own], [other[0], {**other[1], "strength": 0.5}]]
    runs = [run("MGTSample", **graph | {"positive": each}, tokens=tokens)[0].tokens for each in (early, mixed)]
    assert not any(torch.equal(each, whole.tokens) for each in runs) and not torch.equal(*runs)


def test_a_reward_has_nothing_to_look_at(pipe, graph):
    sampler = run("MGTSamplerBestOf", reward=run("MGTRewardColour")[0])[0]
    with pytest.raises(mgt_core.MGTError, match="steered by a reward, which looks at pictures"):
        run("MGTSample", **graph, tokens=run("MGTEmptySound", model=pipe.model)[0], sampler=sampler)


def test_calibration_takes_no_pictures_for_sound(pipe):
    with pytest.raises(mgt_core.MGTError, match="images are given, and this model makes sound"):
        run(
            "MGTSCQCalibrate",
            model=pipe.model,
            text_encoder=pipe.text,
            codec=pipe.codec,
            images=torch.rand(1, 64, 64, 3),
        )
