"""Sound as it is seen: spectra, token pictures, charts of a run."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib import colormaps

import mgt_core
from mgt_core.types import SOUND
from mgt_core.views import pictures, sound
from mgt_core.views.colours import MASK_SHADES, colour_map
from mgt_core.views.preview import Previewer, previewer_of
from mgt_core.views.sound_preview import COLUMNS, MOST_COLUMNS, ROW, ROWS, SoundPreviewer
from mgt_core.views.spectrum import FAINTEST, hertz, loudness, mel, shares_of
from support.device import DEVICE
from support.golden import bundles, pipeline
from support.refusals import INF, NAN, check
from support.sounds import sound_codec

CODEC = sound_codec()
PREVIEWER = previewer_of(CODEC)
BOOKS, CODES = CODEC.books, CODEC.codebook_size
few = settings(max_examples=30, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])


def sine(frequency: float, rate: int, samples: int, level: float = 1.0) -> torch.Tensor:
    return (
        level * torch.sin(2 * math.pi * ((torch.arange(samples, dtype=torch.float64) * frequency / rate) % 1)).float()
    )


def run_state(frames: int = 20, batch: int = 1, masked: float = 0.0, steps: int = 8, seed: int = 0):
    """As a run leaves it: the first three frames given."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CODES, (batch, BOOKS, frames), generator=generator)
    at = torch.randint(0, steps, tokens.shape, generator=generator)
    at[..., :3] = -1
    fixed = at < 0
    left = (torch.rand(tokens.shape, generator=generator) < masked) & ~fixed
    at[left] = -1
    confidence = torch.rand(tokens.shape, generator=generator).log().masked_fill(fixed, 0)
    state = mgt_core.TokenState(tokens.masked_fill(left, CODES), fixed, CODES, CODES, at, confidence, makes=SOUND)
    return state.to(DEVICE)


def is_masked(picture: np.ndarray) -> np.ndarray:
    """[H, W] where a picture shows one of the greys of the checkerboard."""
    grey = (picture == picture[..., :1]).all(-1)
    return grey & np.isin(picture[..., 0], MASK_SHADES)


# Spectra


@few
@given(st.floats(0.02, 0.45), st.sampled_from([1600, 16000, 32000, 44100]), st.floats(-40, 0), st.integers(50, 300))
def test_a_sine_stands_where_it_sounds(share, rate, level, columns):
    """In its row, as loud as it is, from its beginning to its end."""
    wave = sine(share * rate, rate, rate, 10 ** (level / 20))
    levels = loudness(wave, rate, ROWS, columns)
    assert levels.shape == (ROWS, columns)
    inner = levels[:, columns // 8 : -columns // 8]
    loudest = inner.mean(1).argmax()
    row = float(mel(torch.tensor(share * rate)) / mel(torch.tensor(rate / 2)) * ROWS) - 0.5
    assert abs(int(loudest) - row) <= 1 + ROWS / 100
    assert (inner.amax(0) - level).abs().max() < 4


def test_a_sound_stands_when_it_sounds():
    wave = torch.cat([torch.zeros(16000), sine(1000, 16000, 16000)])
    loud = loudness(wave, 16000, ROWS, 100).amax(0)
    assert loud[:45].max() < -60 and loud[55:-5].min() > -6


def test_silence_has_no_level():
    assert (loudness(torch.zeros(800), 1600, ROWS, 50) == 10 * math.log10(FAINTEST)).all()


@few
@given(st.floats(0, 20000))
def test_mel_and_back(frequency):
    torch.testing.assert_close(hertz(mel(torch.tensor(frequency))), torch.tensor(frequency), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1, 16000), (2, 2, 4000), (1, 1, 1), (1, 1, 17)])
def test_spectrograms(shape):
    drawn = sound.spectrogram(torch.rand(shape) - 0.5, 16000)
    assert drawn.shape == (shape[0], 400, 1000, 3) and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.std() > 0.05


def test_channels_are_drawn_as_their_mean():
    wave = torch.stack([sine(440, 16000, 8000), -sine(440, 16000, 8000)])[None]
    silent = sound.spectrogram(torch.zeros(1, 1, 8000), 16000)
    assert torch.equal(sound.spectrogram(wave, 16000), silent)
    assert not torch.equal(sound.spectrogram(wave[:, :1], 16000), silent)


@pytest.mark.parametrize("wave", [torch.zeros(1, 9), torch.zeros(1, 1, 0), torch.zeros(1, 1, 9).int(), None])
def test_what_has_no_spectrum(wave):
    check(lambda: sound.spectrogram(wave, 16000), ("the sound is",))
    check(lambda: sound.spectrogram(torch.full((1, 1, 9), NAN), 16000), ("not finite",))
    check(lambda: sound.spectrogram(torch.zeros(1, 1, 9), 0), ("sample_rate is 0",))


# Token pictures


def test_the_codec_says_how_its_tokens_are_seen():
    assert isinstance(PREVIEWER, SoundPreviewer)
    assert isinstance(previewer_of(pipeline(bundles()[0]).codec), Previewer)


@few
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_masked_cells_are_shown_as_such(frames, masked, seed, full):
    state = run_state(frames, 2, masked, seed=seed)
    picture = np.asarray(PREVIEWER.image(state, full, 1))
    width = picture.shape[1] // frames
    assert picture.shape == (BOOKS * ROW + full * ROWS, frames * width, 3) and 1 <= width <= 16
    left = state.masked[1].cpu().numpy()
    tokens = is_masked(picture[-BOOKS * ROW :])[ROW // 2 :: ROW, width // 2 :: width]
    assert (tokens[left]).all()
    # A code may have a grey of its own, which is the same in its whole cell.
    assert tokens[~left].mean() < 0.2 if (~left).sum() > 20 else True
    if full:
        heard = ~is_masked(picture[:ROWS]).all(0)[width // 2 :: width]
        assert (heard == (~left).any(0)).all()


def test_a_code_has_one_colour_and_others_another():
    state = run_state(30)
    cells = np.asarray(PREVIEWER.image(state, False))[ROW // 2 :: ROW, 8::16]
    first, ids = cells[0], state.tokens[0, 0].cpu().numpy()
    same = ids[:, None] == ids[None]
    alike = (first[:, None] == first[None]).all(-1)
    assert (alike == same).all()


def test_the_first_books_alone_are_heard():
    """While the others are masked, a frame is drawn by what is known of it."""
    state = run_state(30)
    tokens = state.tokens.clone()
    tokens[:, 1:] = CODES
    rough = np.asarray(PREVIEWER.image(replace(state, tokens=tokens)))
    wave = CODEC.decode_vectors(CODEC.tables[0][state.tokens[:, 0]].transpose(1, 2))
    levels = loudness(wave[0, 0], CODEC.sample_rate, ROWS, rough.shape[1])
    shown = pictures.to_pil(colour_map(shares_of(levels.flip(0))))
    assert (rough[:ROWS] == np.asarray(shown)).all()
    assert (rough[:ROWS] != np.asarray(PREVIEWER.image(state))[:ROWS]).any()


def test_long_sounds_have_no_endless_pictures():
    frames = 3 * MOST_COLUMNS
    tokens = torch.zeros(1, BOOKS, frames, dtype=torch.long, device=DEVICE)
    state = mgt_core.TokenState(tokens, tokens.bool(), CODES, CODES, makes=SOUND)
    assert PREVIEWER.image(state, False).size == (MOST_COLUMNS, BOOKS * ROW)
    assert (
        PREVIEWER.image(replace(state, tokens=tokens[..., :500], fixed=tokens[..., :500].bool()), False).width
        == COLUMNS
    )


def test_tokens_of_something_else_are_refused():
    check(lambda: PREVIEWER.image(mgt_core.empty_state(1, (6, 6), CODES, CODES), False), ("sound of 4 code books",))


def test_frames_of_a_run():
    state = run_state(12)
    frames = list(pictures.animation_frames(state, CODEC))
    assert len(frames) == int(state.revealed_at.max()) + 2
    assert frames[-1].tobytes() == PREVIEWER.image(state).tobytes()
    shares = [is_masked(np.asarray(frame)[-BOOKS * ROW :]).mean() for frame in frames]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.5


# Charts


@pytest.mark.parametrize("draw", [sound.reveal_chart, sound.confidence_chart])
def test_charts(draw):
    state = run_state(40, 2, masked=0.3)
    drawn = draw(state, 0.02)
    assert drawn.shape[0] == 2 and drawn.shape[2:] == (1000, 3) and drawn.min() >= 0 and drawn.max() <= 1
    grey = (drawn[0] - 0.5).abs().amax(-1) < 0.01
    assert grey[:, :200].sum() > 1000 > grey[:, 300:900].sum()  # the first three frames, which were given


def test_charts_show_every_cell_in_its_colour():
    at = torch.arange(8).reshape(1, 2, 4)
    tokens = torch.zeros(1, 2, 4, dtype=torch.long)
    state = mgt_core.TokenState(tokens, tokens.bool(), CODES, CODES, at, torch.zeros(1, 2, 4), makes=SOUND)
    drawn = sound.reveal_chart(state, 0.02)[0].reshape(-1, 3).unique(dim=0)
    wanted = torch.tensor([colormaps["viridis"](step / 7)[:3] for step in range(8)], dtype=torch.float32)
    assert (torch.cdist(wanted, drawn).amin(1) < 0.01).all()


def test_charts_of_what_was_not_recorded():
    state = replace(run_state(), revealed_at=None)
    check(lambda: sound.reveal_chart(state, 0.02), ("carry no reveal order",))
    check(lambda: sound.confidence_chart(replace(run_state(), confidence=None), 0.02), ("carry no confidence",))
    for seconds in (0, -1, INF, "one"):
        check(lambda seconds=seconds: sound.reveal_chart(run_state(), seconds), ("seconds_per_frame is",))


def test_charts_of_nothing_drawn():
    state = run_state(5)
    given = replace(state, revealed_at=torch.full_like(state.revealed_at, -1))
    assert sound.reveal_chart(given, 0.02).isfinite().all() and sound.confidence_chart(given, 0.02).isfinite().all()
