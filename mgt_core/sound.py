"""Given sounds: to and from tokens, which of their frames a run fills, and waves as codecs take them.

Sounds are waves [B, C, S] of S samples; tokens [B, K, T] of K code books and T frames. Levels are never changed.
"""

from dataclasses import replace
from math import ceil, gcd

import torch
import torch.nn.functional as F
from torch import Tensor

from .codecs.encodec import HIGHEST_RATE, LONGEST, EnCodec
from .errors import MGTError, finite_number, whole_number
from .loading.pipeline import Pipeline, model_of
from .model import MGTModel
from .types import MOST_IMAGES, MOST_TOKENS, SOUND, TokenState, check_makes, empty_state

NEARLY = 1e-6  # of a frame: 0.58 s of 50 frames are 29 of them, and 28.999999999999996 in floats
MOST_SECONDS = 1e6
LARGEST_RATIO = 1000  # of two rates, cancelled: beyond it torchaudio makes a filter of gigabytes
EDGE = 0.05  # of the band that both rates hold, faded out towards its end
SILENCE = 1024  # samples after a wave, so that its end does not reach its beginning


def frame_rate(model: MGTModel) -> float:
    """Frames per second. Raises MGTError for a model that makes no sound."""
    check_makes(SOUND, "a time in seconds", model=model)
    return model.sample_rate / model.pixels_per_token


def frames_in(model: MGTModel, seconds: float) -> int:
    """Whole frames of so many seconds, as published: 500 of 10 at 50 a second. Raises MGTError for none or too many."""
    rate = frame_rate(model)
    frames = int(finite_number("seconds", seconds, 0, MOST_SECONDS) * rate + NEARLY)
    if frames < 1:
        raise MGTError(f"seconds is {seconds!r}; this model makes {rate:g} frames a second: give at least {1 / rate:g}")
    check_frames(model, frames, 1)
    return frames


def check_frames(model: MGTModel, frames: int, batch: int) -> None:
    """Raises MGTError for more than a sound, or a batch of them, may have."""
    books = model.network.trained_grid[0]
    most = min(LONGEST // model.pixels_per_token, MOST_TOKENS // (books * batch))
    if frames > most:
        each = "" if batch == 1 else f" of each of {batch} sounds"
        asked, accepted = (count / frame_rate(model) for count in (frames, most))
        raise MGTError(f"{asked:.6g} s{each} are asked for; accepted are up to {accepted:.6g}")


def empty_sound(pipe: Pipeline | MGTModel, seconds: float, batch: int = 1) -> TokenState:
    """A state [batch, K, T] with every cell masked. Raises MGTError for lengths that the model cannot hold."""
    model = model_of(pipe, "empty_sound")
    batch = whole_number("batch", batch, 1, MOST_IMAGES)
    frames = frames_in(model, seconds)
    check_frames(model, frames, batch)
    return empty_state(batch, (model.network.trained_grid[0], frames), model.mask_id, model.codebook_size, SOUND)


def encode_sound(model: MGTModel, codec: EnCodec, wave: Tensor, sample_rate: int, strength: float = 1.0) -> TokenState:
    """Tokens of sounds [B, 1, S] of so many samples a second, for a run that varies them; the last frame may be partly
    of silence.

    strength: share of the run that is done, as TokenState.strength has it. Raises MGTError unless they are mono and at
    the model's own rate (see `as_mono`, `resampled`), and for lengths that it cannot hold.
    """
    check_makes(SOUND, "encoding a sound", model=model, codec=codec)
    codec.check_codes(model.codebook_size, "this model has")
    if codec.books != (books := model.network.trained_grid[0]):
        raise MGTError(
            f"the codec has {codec.books} code books and this model {books}; they belong to different models"
        )
    rate = checked_rate("sample_rate", sample_rate)
    checked_wave(wave)
    if rate != codec.sample_rate:
        raise MGTError(
            f"the sound has {rate} samples a second and this model {codec.sample_rate}; resample it to that first"
        )
    if wave.shape[1] != 1:
        raise MGTError(f"the sound has {wave.shape[1]} channels and this model one; make it mono first")
    check_frames(model, ceil(wave.shape[2] / codec.scale), len(wave))
    tokens = codec.encode(wave).to(wave.device)
    fixed = torch.zeros_like(tokens, dtype=torch.bool)
    return TokenState(tokens, fixed, model.mask_id, model.codebook_size, strength=strength, makes=SOUND)


def checked_rate(name: str, rate: int) -> int:
    return whole_number(name, rate, 1, HIGHEST_RATE)


def checked_wave(wave: Tensor) -> Tensor:
    """Raises MGTError for anything but finite floats [B, C, S], some of them."""
    if not isinstance(wave, Tensor) or wave.ndim != 3 or not wave.numel() or not wave.is_floating_point():
        held = f"{wave.dtype} of shape {list(wave.shape)}" if isinstance(wave, Tensor) else type(wave).__name__
        raise MGTError(f"the sound is {held}; expected floats of shape [batch, channels, samples]")
    if not bool(wave.isfinite().all()):
        raise MGTError("the sound is not finite: some samples are NaN or infinite")
    return wave


def as_mono(wave: Tensor) -> Tensor:
    """[B, C, S] -> [B, 1, S], the mean of the channels."""
    return checked_wave(wave).mean(1, keepdim=True)


def resampled(wave: Tensor, rate: int, to: int) -> Tensor:
    """[B, C, S] of `rate` samples a second -> [B, C, S to / rate, rounded up] of `to`, pitch and level as they were;
    what lies above half of the lower rate is taken out. By torchaudio where it is installed. Raises MGTError for more
    samples than a codec takes."""
    rate, to, wave = checked_rate("rate", rate), checked_rate("to", to), checked_wave(wave)
    if rate == to:
        return wave
    if (samples := ceil(wave.shape[2] * to / rate)) > LONGEST:
        raise MGTError(
            f"the sound is {wave.shape[2] / rate:.6g} s long, {samples} samples at {to} a second; accepted are up to "
            f"{LONGEST}"
        )
    wave = wave.to(torch.promote_types(wave.dtype, torch.float32))
    if max(rate, to) // gcd(rate, to) <= LARGEST_RATIO:
        try:
            from torchaudio.functional import resample
        except (ImportError, OSError, RuntimeError):  # not installed, or made for another torch
            pass
        else:
            return resample(wave, rate, to)
    return by_spectrum(wave, rate, to)


def by_spectrum(wave: Tensor, rate: int, to: int) -> Tensor:
    """As `resampled`: the same frequencies, summed at other times."""
    unit, kept = rate // gcd(rate, to), ceil(wave.shape[-1] * to / rate)
    length = ceil((wave.shape[-1] + SILENCE) / unit) * unit  # so that both lengths are whole
    new = length // unit * (to // gcd(rate, to))
    spectrum = torch.fft.rfft(F.pad(wave, (0, length - wave.shape[-1])))[..., : new // 2 + 1]
    edge = torch.arange(spectrum.shape[-1], device=wave.device) / (min(length, new) / 2)
    fade = ((1 - edge) / EDGE).clamp(0, 1).to(wave.dtype)
    return torch.fft.irfft(spectrum * fade, new)[..., :kept] * (new / length)


def checked_state(model: MGTModel, state: TokenState) -> TokenState:
    """Raises MGTError for tokens that are none of the model's."""
    own = (model.network.trained_grid[0], model.mask_id, model.codebook_size)
    if not isinstance(state, TokenState) or (state.grid[0], state.mask_id, state.codebook_size) != own:
        held = (
            f"a grid of {state.grid[0]} x {state.grid[1]} with {state.codebook_size} codes"
            if isinstance(state, TokenState)
            else type(state).__name__
        )
        raise MGTError(f"the tokens are {held}; this model makes sound of {own[0]} books of {own[2]} codes")
    return state


def mask_sound(model: MGTModel, state: TokenState, start: float, end: float) -> TokenState:
    """Inpainting in time: the frames that [start, end) seconds touch are filled again in every code book, all others
    are fixed, whatever was before.

    A state that carries a strength below 1 keeps its tokens in the free frames, of which the run then varies that
    share. What lies after the end of the sound is left out; raises MGTError for a range that begins there.
    """
    rate, whole = frame_rate(model), checked_state(model, state).grid[1]
    start = finite_number("start", start, 0, MOST_SECONDS)
    end = finite_number("end", end, 0, MOST_SECONDS)
    first, last = int(start * rate + NEARLY), min(ceil(end * rate - NEARLY), whole)
    if end <= start:
        raise MGTError(f"the range is from {start:g} to {end:g} s; its end has to be after its start")
    if first >= whole:
        raise MGTError(f"the range begins at {start:g} s, and the sound ends at {whole / rate:g} s")
    free = torch.zeros_like(state.fixed)
    free[:, :, first : max(last, first + 1)] = True
    fixed = ~free & ~state.masked
    if state.strength is not None and state.strength < 1:
        return replace(state, fixed=fixed, makes=SOUND)
    tokens = state.tokens.masked_fill(free, state.mask_id)
    return replace(state, tokens=tokens, fixed=fixed, strength=None, makes=SOUND)


def extend_sound(model: MGTModel, state: TokenState, before: float = 0.0, after: float = 0.0) -> TokenState:
    """Continuation: masked frames of so many seconds before and after, what was there is fixed."""
    check_makes(SOUND, "continuing a sound", model=model)
    checked_state(model, state)
    sides = [
        0 if finite_number(name, seconds, 0, MOST_SECONDS) == 0 else frames_in(model, seconds)
        for name, seconds in (("before", before), ("after", after))
    ]
    check_frames(model, state.grid[1] + sum(sides), state.batch)
    tokens = F.pad(state.tokens, sides, value=state.mask_id)
    return TokenState(tokens, tokens != state.mask_id, state.mask_id, state.codebook_size, makes=SOUND)
