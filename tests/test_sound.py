"""Sounds to and from tokens: lengths in seconds, rates and channels, ranges, continuation, variation; and what is for
pictures alone."""

import math
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import sound
from mgt_core.samplers.steered import Judge
from mgt_core.types import SOUND
from mgt_core.views.preview import Previewer
from mgt_core.views.sound import SoundPreviewer
from support.device import DEVICE, equal
from support.golden import bundles, pipeline
from support.refusals import INF, NAN, check
from support.sounds import sound_codec, sound_model

CODEC, MODEL = sound_codec(), sound_model()
RATE, HOP, BOOKS, CODES = CODEC.sample_rate, CODEC.scale, CODEC.books, CODEC.codebook_size
FRAMES = RATE // HOP  # a second
PICTURES = pipeline(bundles()[0])
few = settings(max_examples=50, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
seconds = st.floats(0, 3, allow_nan=False)


def filled(batch: int = 1, frames: int = 40, seed: int = 0, **changes) -> mgt_core.TokenState:
    tokens = torch.randint(0, CODES, (batch, BOOKS, frames), generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    return mgt_core.TokenState(tokens, torch.zeros_like(tokens).bool(), CODES, CODES, makes=SOUND, **changes)


def sine(frequency: float, rate: int, samples: int, level: float = 0.5) -> torch.Tensor:
    turns = (torch.arange(samples, dtype=torch.float64) * frequency / rate) % 1
    return (level * torch.sin(2 * math.pi * turns)).float()[None, None]


# Lengths


@pytest.mark.parametrize("asked, frames", [(10, 500), (30, 1500), (0.58, 29), (0.02, 1), (0.0399, 1), (9.96, 498)])
def test_whole_frames_as_published(asked, frames):
    assert mgt_core.frames_in(MODEL, asked) == frames
    state = mgt_core.empty_sound(MODEL, asked, batch=2)
    assert state.tokens.shape == (2, BOOKS, frames) and state.masked.all() and not state.fixed.any()
    assert state.makes == SOUND


@few
@given(st.integers(1, 5000))
def test_every_number_of_frames_can_be_asked_for(frames):
    assert mgt_core.frames_in(MODEL, frames * HOP / RATE) == frames


@pytest.mark.parametrize("asked", [0, 0.019, -1, NAN, INF, "long", None, 1e9])
def test_lengths_that_cannot_be(asked):
    check(lambda: mgt_core.empty_sound(MODEL, asked), ("seconds is",))


def test_lengths_that_are_too_much():
    check(lambda: mgt_core.empty_sound(MODEL, 20_000), ("20000 s are asked for; accepted are up to 10485.7",))
    check(lambda: mgt_core.empty_sound(MODEL, 9000, 4000), ("9000 s of each of 4000 sounds are asked for",))
    check(lambda: mgt_core.empty_sound(MODEL, 1, 0), ("batch is 0",))
    check(lambda: mgt_core.empty_sound("model", 1), ("empty_sound was given str",))


# Encoding


@few
@given(st.integers(1, 2), st.integers(1, 5 * HOP), st.floats(0, 1))
def test_encoding(batch, samples, strength):
    wave = torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(samples)).to(DEVICE)
    state = mgt_core.encode_sound(MODEL, CODEC, wave, RATE, strength)
    assert equal(state.tokens, CODEC.encode(wave)) and state.tokens.device == wave.device
    assert not state.fixed.any() and state.strength == strength and state.makes == SOUND
    state.check()


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sample_rate": 44100}, "has 44100 samples a second and this model 1600; resample it"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"wave": torch.zeros(1, 2, 99)}, "has 2 channels and this model one; make it mono first"),
        ({"wave": torch.zeros(1, 99)}, "expected floats of shape .batch, channels, samples"),
        ({"wave": torch.zeros(1, 1, 0)}, "expected floats of shape"),
        ({"wave": torch.zeros(1, 1, 9).int()}, "torch.int32 of shape .1, 1, 9."),
        ({"wave": torch.full((1, 1, 9), INF)}, "not finite"),
        ({"wave": None}, "the sound is NoneType"),
        ({"strength": 2}, "strength is 2"),
        ({"model": sound_model(books=8)}, "the codec has 4 code books and this model 8"),
        ({"model": sound_model(codes=64)}, "codec was made for another model: it has 32 codes"),
        ({"model": PICTURES.model}, "encoding a sound is for sound, and the model given is of pictures"),
        ({"codec": PICTURES.codec}, "encoding a sound is for sound, and the codec given is of pictures"),
    ],
)
def test_what_cannot_be_encoded(changes, told):
    given = {"model": MODEL, "codec": CODEC, "wave": torch.zeros(1, 1, 99, device=DEVICE), "sample_rate": RATE}
    check(lambda: mgt_core.encode_sound(**given | changes), (told,))


# Waves


@few
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 50))
def test_mono_is_the_mean(batch, channels, samples):
    wave = torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(samples))
    mono = mgt_core.as_mono(wave)
    assert mono.shape == (batch, 1, samples)
    torch.testing.assert_close(mono[:, 0], wave.mean(1))
    assert torch.equal(mgt_core.as_mono(mono), mono)


@pytest.mark.parametrize("rate, to", [(44100, 32000), (48000, 16000), (16000, 32000), (8000, 44100), (32000, 31999)])
@pytest.mark.parametrize("frequency", [100, 1000, 3000])
def test_a_sine_stays_what_it_is(rate, to, frequency):
    """Pitch, level and length, but for its ends, where it is cut off."""
    out = sound.by_spectrum(sine(frequency, rate, rate // 2), rate, to)
    assert out.shape[-1] == math.ceil(rate // 2 * to / rate)
    wanted, edge = sine(frequency, to, out.shape[-1]), to // 20
    torch.testing.assert_close(out[..., edge:-edge], wanted[..., edge:-edge], atol=2e-3, rtol=0)


def test_what_the_lower_rate_cannot_hold_is_taken_out():
    out = sound.by_spectrum(sine(12000, 44100, 44100) + sine(1000, 44100, 44100), 44100, 16000)
    torch.testing.assert_close(out[..., 800:-800], sine(1000, 16000, 16000)[..., 800:-800], atol=2e-3, rtol=0)


@few
@given(st.integers(1, 400), st.sampled_from([8000, 16000, 22050, 44100]), st.sampled_from([16000, 32000, 44100]))
def test_lengths_and_channels_of_what_is_resampled(samples, rate, to):
    wave = torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(samples))
    out = mgt_core.resampled(wave, rate, to)
    assert out.shape == (2, 2, math.ceil(samples * to / rate)) and out.isfinite().all()
    assert (out is wave) == (rate == to)


def test_torchaudio_is_taken_where_it_is(monkeypatch):
    """But for rates whose filter would not fit into memory."""
    asked, functional = [], ModuleType("torchaudio.functional")
    functional.resample = lambda wave, rate, to: asked.append((rate, to)) or wave
    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    monkeypatch.setitem(sys.modules, "torchaudio.functional", functional)
    mgt_core.resampled(sine(100, 44100, 99), 44100, 32000)
    assert asked == [(44100, 32000)]
    mgt_core.resampled(sine(100, 44100, 99), 44100, 31999)
    assert len(asked) == 1


def test_it_is_done_without_torchaudio(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    wave = sine(100, 8000, 800).half()
    assert equal(mgt_core.resampled(wave, 8000, 16000), sound.by_spectrum(wave.float(), 8000, 16000))


@pytest.mark.parametrize("rates", [(0, 16000), (44100, -1), (44100.5, 16000), (44100, 2**30)])
def test_rates_that_cannot_be(rates):
    check(lambda: mgt_core.resampled(sine(1, 100, 100), *rates), ("is",))


def test_a_rate_that_makes_seconds_of_samples_is_told():
    wave = sine(1, 100, 10**6)
    check(lambda: mgt_core.resampled(wave, 7, 48000), ("142857 s long", "6857142858 samples", "16777215"))


# Inpainting in time


@few
@given(seconds, seconds, st.integers(1, 60), st.booleans())
def test_ranges_of_seconds(start, end, frames, given_before):
    """Every frame that the range touches is free in every book; all others are fixed."""
    state = filled(2, frames)
    if given_before:
        state = replace(state, fixed=torch.ones_like(state.fixed))
    if end <= start or int(start * FRAMES + sound.NEARLY) >= frames:
        check(lambda: mgt_core.mask_sound(MODEL, state, start, end), ("the range",))
        return
    out = mgt_core.mask_sound(MODEL, state, start, end)
    near = sound.NEARLY / FRAMES
    touched = torch.tensor([(t + 1) / FRAMES > start + near and t / FRAMES < end - near for t in range(frames)])
    if bool(touched.any()):  # a range of less than that is one frame
        assert equal(out.masked, touched.expand_as(out.tokens).to(DEVICE))
    assert int(out.masked[0, 0].sum()) >= 1
    assert equal(out.fixed, ~out.masked) and equal(out.tokens[out.fixed], state.tokens[out.fixed])
    out.check()


def test_a_range_over_all_is_a_sound_from_nothing():
    out = mgt_core.mask_sound(MODEL, filled(), 0, 40 / FRAMES)
    assert equal(out.tokens, mgt_core.empty_sound(MODEL, 40 / FRAMES).tokens.to(DEVICE)) and not out.fixed.any()


def test_a_strength_stays_with_its_range():
    state = filled(strength=0.5)
    out = mgt_core.mask_sound(MODEL, state, 0.2, 0.4)
    assert equal(out.tokens, state.tokens) and out.strength == 0.5
    assert int((~out.fixed[0, 0]).sum()) == 10
    assert mgt_core.mask_sound(MODEL, replace(state, strength=1.0), 0.2, 0.4).strength is None


# Continuation


@few
@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40))
def test_frames_before_and_after(frames, before, after):
    state = filled(2, frames, strength=0.3)
    out = mgt_core.extend_sound(MODEL, state, before / FRAMES, after / FRAMES)
    assert out.grid == (BOOKS, before + frames + after) and out.strength is None and out.makes == SOUND
    middle = slice(before, before + frames)
    assert equal(out.tokens[..., middle], state.tokens) and out.fixed[..., middle].all()
    assert int(out.fixed.sum()) == state.tokens.numel() and equal(out.masked, ~out.fixed)
    out.check()


def test_continuations_that_cannot_be():
    check(lambda: mgt_core.extend_sound(MODEL, filled(), -1), ("before is -1",))
    check(lambda: mgt_core.extend_sound(MODEL, filled(), after=0.001), ("seconds is 0.001",))
    check(lambda: mgt_core.extend_sound(MODEL, filled(), 10_000, 10_000), ("20000.8 s are asked for",))


@pytest.mark.parametrize("act", ["mask_sound", "extend_sound"])
@pytest.mark.parametrize(
    "model, state, told",
    [
        (PICTURES.model, filled(), "for sound, and the model given is of pictures"),
        (MODEL, mgt_core.empty_state(1, (6, 6), CODES, CODES), "the tokens are a grid of 6 x 6 with 32 codes"),
        (MODEL, mgt_core.empty_state(1, (4, 6), 64, 64), "this model makes sound of 4 books of 32 codes"),
        (MODEL, None, "the tokens are NoneType"),
    ],
)
def test_tokens_and_models_of_something_else(act, model, state, told):
    check(lambda: getattr(mgt_core, act)(model, state, 0, 0.1), (told,))


# Variation


@few
@given(st.floats(0, 1), st.integers(1, 30), st.sampled_from(["random", "least confident"]), st.integers(0, 99))
def test_a_share_of_every_book_is_varied(share, frames, order, seed):
    state = filled(2, frames, seed, confidence=torch.rand(2, BOOKS, frames, device=DEVICE).log())
    out = mgt_core.vary_tokens(state, share, order, seed)
    assert (out.masked.sum(2) == round(share * frames)).all()
    assert equal(out.tokens[~out.masked], state.tokens[~out.masked])
    if order == "least confident" and 0 < round(share * frames) < frames:
        lost = state.confidence.masked_fill(~out.masked, -INF).amax(2)
        assert (lost <= state.confidence.masked_fill(out.masked, INF).amin(2)).all()


def test_what_is_fixed_is_not_varied():
    state = mgt_core.extend_sound(MODEL, filled(), after=0.2)
    whole = replace(state, tokens=state.tokens.masked_fill(state.masked, 0))
    out = mgt_core.vary_tokens(whole, 0.5)
    assert not (out.masked & whole.fixed).any() and (out.masked.sum(2) == 5).all()


# What is for pictures alone

IMAGE = torch.rand(1, 64, 64, 3)
REFUSED = {
    "encode_image, model": (lambda: mgt_core.encode_image(MODEL, CODEC, IMAGE), "encoding a picture is for pictures"),
    "encode_image, codec": (lambda: mgt_core.encode_image(PICTURES.model, CODEC, IMAGE), "the codec given is of sound"),
    "empty_tokens": (lambda: mgt_core.empty_tokens(MODEL, 64, 64), "this model makes sound, not pictures"),
    "mask_tokens": (lambda: mgt_core.mask_tokens(filled(), torch.ones(8, 8)), "a mask is for pictures, and the tokens"),
    "pad_tokens": (lambda: mgt_core.pad_tokens(MODEL, filled(), (0, 0, 32, 0)), "outpainting is for pictures"),
    "pad_tokens, tokens": (
        lambda: mgt_core.pad_tokens(PICTURES.model, filled(), (0, 0, 32, 0)),
        "the tokens given are of sound",
    ),
    "pad_image": (
        lambda: mgt_core.pad_image(MODEL, filled(), torch.rand(1, 128, 1280, 3), filled(), (0, 0, 0, 0)),
        "outpainting is for pictures",
    ),
    "picture_tokens": (lambda: mgt_core.picture_tokens(MODEL, CODEC, IMAGE), "calibrating on pictures is for pictures"),
    "caption": (
        lambda: mgt_core.caption(replace(PICTURES, model=MODEL, codec=CODEC), IMAGE),
        "captions need a model with a text head",
    ),
    "Previewer": (lambda: Previewer(CODEC), "a preview of pictures is for pictures, and the codec given is of sound"),
    "SoundPreviewer": (lambda: SoundPreviewer(PICTURES.codec), "a preview of sound is for sound, and the codec given"),
    "Previewer, tokens": (lambda: Previewer(PICTURES.codec).image(filled()), "the tokens given are of sound"),
    "decode": (
        lambda: PICTURES.codec.decode(replace(filled(), codebook_size=PICTURES.codec.codebook_size)),
        "the tokens given are of sound",
    ),
    "sample": (
        lambda: mgt_core.sample(PICTURES.model, filled(), None, None),
        "a model of pictures is for pictures, and the tokens given are of sound",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_of_pictures_refuse_sound(name):
    act, told = REFUSED[name]
    check(act, (told,))


def test_rewards_of_pictures_refuse_sound():
    check(
        lambda: Judge(MODEL, mgt_core.ColourAgreement()),
        ("steering by a reward is for pictures, and the model given is of sound",),
    )
    assert Judge(MODEL, None).reward is None
