"""Sounds read from files that anyone may have made, and checked before they are written."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import flac
from .failures import said
from .problems import Json, RunError
from .strangers import HEAD, in_place

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

log = logging.getLogger(__name__)

# Those that are read, by their first bytes, and how their files are called.
FORMATS: dict[str, tuple[str, re.Pattern[bytes]]] = {
    "WAV": (".wav .wave", re.compile(rb"(RIFF|RF64)....WAVE", re.DOTALL)),
    "FLAC": (".flac", re.compile(flac.SIGNATURE)),
    "Ogg": (".ogg .oga .opus", re.compile(rb"OggS")),
    "MP3": (".mp3", re.compile(rb"ID3|\xff[\xfa\xfb\xf2\xf3\xe2\xe3]")),
    "AIFF": (".aif .aiff .aifc", re.compile(rb"FORM....AIF[FC]", re.DOTALL)),
}
ENDINGS = frozenset(" ".join(endings for endings, _ in FORMATS.values()).split())
OTHERS = (
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3", re.DOTALL), "is of a kind that videos are of (M4A, MP4, WebM)"),
    (re.compile(rb"\x30\x26\xb2\x75"), "is Windows Media"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]|ADIF"), "is AAC"),
    (re.compile(rb"MThd"), "is MIDI, which holds notes and no sound"),
)
CONVERT = "save it as WAV or FLAC"
MOST_BYTES = 2**29  # of a file
MOST_SECONDS = 3600
MOST_CHANNELS = 8
MOST_SAMPLES = 2**26  # of all channels: half an hour at 32 kHz, and 0.3 GB of memory
MOST_SOUNDS = 4096  # in a batch, as many as the widget of any node makes at once
RATES = range(1, 655_351)  # samples a second; no FLAC has more
BLOCK = 2**18  # samples of each channel that are decoded at once
KEYWORD = re.compile(r"[ -<>-}]+")  # of a text that a sound carries, by the format
LEVELS = 2**15  # of the 16 bits that ComfyUI writes, on either side of silence


def soundfile() -> Any:
    """The package, or None where it or its library is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):
        return None
    return soundfile


def read_sound(path: Path, name: str) -> tuple[Tensor, int]:
    """The sound of a file [channels, samples] float32, and its samples a second.

    Raises RunError for a sound that is longer than is accepted, told before it is decoded, and for a file that holds
    none.
    """
    import torch

    what = f"sound {name!r}"
    try:
        with path.open("rb") as stream:
            head, size = stream.read(HEAD), path.stat().st_size
        kind = next((kind for kind, (_, begins) in FORMATS.items() if begins.match(head)), None)
        if kind is None:
            raise RunError(f"{what} {_stranger(head)}")
        if size > MOST_BYTES:
            raise RunError(f"{what} has {size:,} bytes; accepted are {MOST_BYTES:,}")
        samples, rate = (_decoded if soundfile() else _plain)(path, what, kind)
        found = torch.from_numpy(samples.T.copy())
    except RunError:
        raise
    except Exception as error:  # readers of a broken file raise what it leads them to
        raise RunError(f"{what} cannot be read: {said(error)}") from error
    if not found.numel():
        raise RunError(f"{what} holds no samples")
    if not bool(found.isfinite().all()):
        raise RunError(f"{what} holds values that are not finite")
    return found, rate


def _stranger(head: bytes) -> str:
    if told := in_place(head, "sound"):
        return told
    other = next((words for begins, words in OTHERS if begins.match(head)), "")
    return f"{other}: {CONVERT}" if other else f"is none of a known kind ({', '.join(FORMATS)})"


def _decoded(path: Path, what: str, kind: str) -> tuple[np.ndarray, int]:
    """[samples, channels] by the package soundfile."""
    import numpy as np

    with soundfile().SoundFile(path) as file:
        check_length(file.frames, file.channels, file.samplerate, what)
        blocks, held = [], 0
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            held += len(block)  # heads do not always say how long a sound is
            check_length(held, file.channels, file.samplerate, what)
            blocks.append(block)
        return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), "float32"), file.samplerate


def _plain(path: Path, what: str, kind: str) -> tuple[np.ndarray, int]:
    """The same without it: WAV of whole numbers."""
    import numpy as np

    if kind != "WAV":
        raise RunError(f"{what} is {kind}, which takes the package soundfile: pip install soundfile, or save it as WAV")
    try:
        with wave.open(str(path)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            most = path.stat().st_size // (width * channels)  # heads of what was piped claim all that they can
            check_length(min(file.getnframes(), most), channels, rate, what)
            data = file.readframes(file.getnframes())
    except wave.Error as error:
        raise RunError(f"{what} takes the package soundfile ({error}): pip install soundfile") from error
    data = np.frombuffer(data[: len(data) // (width * channels) * (width * channels)], np.uint8).reshape(-1, width)
    if width == 1:
        values = (data[:, 0].astype(np.float32) - 128) / 128
    else:  # little-endian, moved to the upper end of 32 bits
        wide = np.zeros((len(data), 4), np.uint8)
        wide[:, 4 - width :] = data
        values = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    return values.reshape(-1, channels), rate


def check_length(frames: int, channels: int, rate: int, what: str) -> None:
    """Raises RunError for a sound that is longer, or of more channels, than is worked on. frames: samples of each."""
    if rate not in RATES:
        raise RunError(f"{what} has {rate} samples a second; accepted are {RATES[0]} to {RATES[-1]}")
    if not 0 < channels <= MOST_CHANNELS:
        raise RunError(f"{what} has {channels} channels; accepted are 1 to {MOST_CHANNELS}")
    if frames > MOST_SECONDS * rate or frames * channels > MOST_SAMPLES:
        most = min(MOST_SECONDS, MOST_SAMPLES // (channels * rate))
        raise RunError(f"{what} is {frames / rate:,.0f} seconds long; accepted are {most:,} of {channels} x {rate} Hz")


def check_audio(audio: Any) -> tuple[Tensor, int]:
    """The waveform [B, C, S] and sample rate of an AUDIO. Raises RunError for what cannot be saved as sounds."""
    import torch

    if not isinstance(audio, dict) or not {"waveform", "sample_rate"} <= audio.keys():
        raise RunError(f"audio is {type(audio).__name__}; expected a waveform and its sample_rate, as of Load Audio")
    waveform, rate = audio["waveform"], audio["sample_rate"]
    shape = list(waveform.shape) if isinstance(waveform, torch.Tensor) else type(waveform).__name__
    if not isinstance(shape, list) or len(shape) != 3 or shape[1] not in (1, 2) or not all(shape):
        raise RunError(f"the waveform is {shape}; expected sounds of shape [batch, 1 or 2 channels, samples]")
    if not waveform.is_floating_point() or waveform.is_meta:
        held = "without values" if waveform.is_meta else f"of {waveform.dtype}"
        raise RunError(f"the waveform is {held}; expected floats in -1 to 1")
    if not (type(rate) is int or (isinstance(rate, float) and rate.is_integer())):
        raise RunError(f"sample_rate is {str(rate)[:40]!r}; expected a whole number")
    check_length(shape[2], shape[1], int(rate), "each of the sounds")
    if shape[0] > MOST_SOUNDS:
        raise RunError(f"there are {shape[0]} sounds; {MOST_SOUNDS} at once can be saved")
    for place, sound in enumerate(waveform):
        if not all(map(math.isfinite, torch.stack(sound.aminmax()).tolist())):
            raise RunError(f"sound {place + 1} of {shape[0]} holds values that are not finite")
    return waveform, int(rate)


def in_16_bits(sound: Tensor) -> np.ndarray:
    """[C, S] floats -> [S, C] int16, as ComfyUI rounds them and cuts off what is beyond -1 to 1."""
    levels = (sound.float() * LEVELS).round().clamp(-LEVELS, LEVELS - 1)
    return levels.short().T.contiguous().cpu().numpy()


@dataclass(frozen=True)
class Kind:
    """A kind of file to write. options: of the package soundfile, which writes it; none for WAV."""

    name: str
    ending: str
    options: Json = field(default_factory=dict)


WAV = Kind("WAV", ".wav")
FLAC = Kind("FLAC", ".flac", {"format": "FLAC", "subtype": "PCM_16"})


def encoded(samples: np.ndarray, rate: int, kind: Kind, notes: Json) -> bytes:
    """A whole file of samples [S, C] int16; notes as JSON in it, where the kind has a place for them. Raises RunError
    where such a file has no such rate."""
    file = io.BytesIO()
    if kind is WAV:
        with wave.open(file, "wb") as plain:
            plain.setnchannels(samples.shape[1])
            plain.setsampwidth(samples.itemsize)
            plain.setframerate(rate)
            plain.writeframes(samples.astype("<i2").tobytes())
        return file.getvalue()
    package = soundfile()
    try:
        package.write(file, samples, rate, **kind.options)
    except (package.SoundFileError, ValueError) as error:
        why = getattr(error, "error_string", "") or said(error)
        raise RunError(f"a sound of {rate} Hz cannot be written as {kind.name}: {why}") from error
    if kind is not FLAC:
        return file.getvalue()
    named = {name: value for name, value in notes.items() if value is not None and KEYWORD.fullmatch(str(name))}
    try:
        return flac.with_texts(file.getvalue(), {str(name): json.dumps(value) for name, value in named.items()})
    except ValueError:
        log.warning("The sound does not carry its workflow, which is longer than FLAC takes")
        return file.getvalue()
