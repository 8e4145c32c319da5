"""Sounds that no instrument made and names that nobody should give, through Load Audio and Save Audio of
run_workflow."""

import io
import random
import struct
import sys
import wave
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile
import torch

from runner.files import read_document
from runner.images import Folders
from runner.local import execute
from runner.naming import is_inside
from runner.problems import RunError, WorkflowError
from runner.validate import validate
from support.fake_nodes import fake_library
from support.trials import refused

SHORT = 200
OUTCOMES = ("loaded", "saved", "refused")
KINDS = (
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")),
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", "PCM_16")),
    *(("RF64", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16")),
)
NUMBERS = (0, 1, 2, 255, 65535, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)
FIELDS = tuple(zip((4, 16, 20, 22, 24, 32, 34, 40), "I I H H I H H I".split(), strict=True))  # of the head of WAV
PREFIXES = ("a", "sub/a", "../a", "/tmp/a", "", ".", "a\0", "x" * 300, "%batch_num%", "%width%", "leads/a", "\ud800")
NAMES = ("in.wav", "sub/in.wav", "../secret.wav", "none.wav", "folder.wav", "", "in.wav [input]")


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    for name in ("in/sub", "in/folder.wav", "out", "elsewhere"):
        (folder / name).mkdir(parents=True)
    (folder / "out" / "leads").symlink_to(folder / "elsewhere")
    content = sound_file(draws)
    for name in ("in/in.wav", "in/sub/in.wav", "secret.wav"):
        (folder / name).write_bytes(content)
    library = fake_library([], Folders((folder / "in",), folder / "out"))
    library.classes["Tone"].run = lambda self, batch: (audio(draws, seed),)
    with mock.patch.dict(sys.modules, {"soundfile": draws.choice((soundfile, soundfile, None))}):
        return tried(draws, library, folder)


def tried(draws: random.Random, library, folder: Path) -> str:
    """With the package for other kinds than WAV, or without it."""
    try:
        return draws.choice((load, load, save, carried))(draws, library, folder)
    except (RunError, WorkflowError) as error:
        return refused(error)
    finally:
        assert not list((folder / "elsewhere").iterdir()), "something outside of the output has changed"
        check_output(folder / "out")


def check_output(output: Path) -> None:
    for path in output.rglob("*"):
        assert path.suffix != ".part", f"left over: {path}"
        if path.suffix == ".flac":
            soundfile.read(path)


def load(draws: random.Random, library, folder: Path) -> str:
    prompt = {
        "1": {"class_type": "LoadAudio", "inputs": {"audio": draws.choice((NAMES[0], NAMES[0], draws.choice(NAMES)))}},
        "2": {"class_type": "PreviewAudio", "inputs": {"audio": ["1", 0]}},
    }
    if draws.random() < 0.3:
        (sound,) = library.classes["LoadAudio"]().load(prompt["1"]["inputs"]["audio"])
        assert sound["waveform"].ndim == 3 and bool(sound["waveform"].isfinite().all()) and sound["sample_rate"] > 0
        return "loaded"
    run(prompt, library)
    return "loaded"


def save(draws: random.Random, library, folder: Path) -> str:
    prompt = {
        "1": {"class_type": "Tone", "inputs": {"batch": 1}},
        "2": {
            "class_type": draws.choice(("SaveAudio", "SaveAudioMP3")),
            "inputs": {"audio": ["1", 0], "filename_prefix": draws.choice(PREFIXES)},
        },
    }
    if prompt["2"]["class_type"] == "SaveAudioMP3":
        prompt["2"]["inputs"]["quality"] = draws.choice(("V0", "128k", "320k"))
    saved = run(prompt, library)
    assert saved and all(path.is_file() and is_inside(path, folder / "out") for path in saved)
    return "saved"


def carried(draws: random.Random, library, folder: Path) -> str:
    """A sound in the place of a workflow."""
    read_document(folder / "in" / "in.wav")
    raise AssertionError("there is no workflow in it")


def run(prompt, library) -> list[Path]:
    if problems := validate(prompt, library.object_info, custom=library.custom_check):
        raise RunError(problems[0])
    return execute(prompt, library)


def audio(draws: random.Random, seed: int):
    plain = (
        torch.rand(draws.randint(1, 2), draws.randint(1, 2), 900, generator=torch.Generator().manual_seed(seed)) - 0.5
    )
    if draws.random() < 0.4:
        return {"waveform": plain, "sample_rate": draws.choice((8000, 16000, 32000, 44100))}
    waveform = draws.choice(
        (
            lambda: plain * draws.choice((1e38, -5.0, float("nan"), float("inf"))),
            lambda: plain[:0],
            lambda: plain[..., :0],
            lambda: plain[0],
            lambda: plain.to(
                draws.choice((torch.float16, torch.bfloat16, torch.float64, torch.int16, torch.complex64))
            ),
            lambda: torch.zeros(1, 1, 1).expand(1, 2, 2**40),
            lambda: torch.zeros(1, 1, 1).expand(2**40, 1, 4),
            lambda: plain[:, :1].expand(-1, 7, -1),
            lambda: plain.to("meta"),
            lambda: draws.choice((None, [], "sound", 3)),
        )
    )()
    rate = draws.choice((16000, 16000.0, 0, -1, 12345, 2**40, 0.5, float("nan"), float("inf"), True, None, "16000"))
    return draws.choice(({"waveform": waveform, "sample_rate": rate}, {"waveform": waveform}, waveform, {}))


def sound_file(draws: random.Random) -> bytes:
    """A sound file, whole or spoiled."""
    content = encoded(draws)
    spoil = draws.choice((None, None, flipped, flipped, cut, resized, swapped, padded))
    return content if spoil is None else spoil(draws, content)


def encoded(draws: random.Random) -> bytes:
    kind, subtype = draws.choice(KINDS)
    shape, rate = (draws.randint(0, 3000), draws.randint(1, 2)), draws.choice((8000, 16000, 48000))
    sound = np.frombuffer(draws.randbytes(4 * shape[0] * shape[1]), np.int32).reshape(shape)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, subtype=subtype)
    return file.getvalue() if draws.random() < 0.95 else draws.randbytes(200)


def flipped(draws: random.Random, content: bytes) -> bytes:
    data = bytearray(content or b"\0")
    for _ in range(draws.randint(1, 12)):
        data[draws.randrange(min(len(data), draws.choice((64, 10**6))))] = draws.randrange(256)
    return bytes(data)


def cut(draws: random.Random, content: bytes) -> bytes:
    return content[: draws.randrange(len(content) or 1)]


def resized(draws: random.Random, content: bytes) -> bytes:
    """WAV whose head claims other channels, rates and lengths."""
    file = io.BytesIO()
    with wave.open(file, "wb") as plain:
        plain.setparams((1, 2, 16000, 0, "NONE", ""))
        plain.writeframes(draws.randbytes(400))
    data = bytearray(file.getvalue())
    for at, form in draws.sample(FIELDS, 3):
        struct.pack_into(f"<{form}", data, at, draws.choice(NUMBERS) % 2 ** (8 * struct.calcsize(form)))
    return bytes(data)


def swapped(draws: random.Random, content: bytes) -> bytes:
    """Two pieces in each other's place."""
    a, b = sorted(draws.choices(range(len(content) + 1), k=2))
    return content[:a] + content[b:] + content[a:b]


def padded(draws: random.Random, content: bytes) -> bytes:
    return draws.choice((content + draws.randbytes(500), content + content, b"", b"\0" + content, b"ID3" + content))
