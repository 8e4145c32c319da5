"""Melodies of synthetic instruments, and their captions.

A frame of the codec lasts 40 ms, every note begins with a frame, and every partial is a multiple of 12.5 Hz: a held note looks
the same in every second frame, so that few codes tell it and they mean the same everywhere. The scale is the major one in
just intonation (24:27:30:32:36:40:45:48), whose notes are such multiples.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

RATE, HOP = 8000, 320
FRAMES = 150  # of a sound, 6 seconds
GRID = 12.5  # Hz
RATIOS = (1, 9 / 8, 5 / 4, 4 / 3, 3 / 2, 5 / 3, 15 / 8, 2)
REGISTERS = {"low": 300.0, "high": 600.0}  # Hz of the first degree
TEMPI = {"slow": 12, "fast": 6}  # frames of a note
MELODIES = ("rising scale", "falling scale", "arpeggio", "trill", "repeated note", "waltz")
REST = -1
HELD_OUT = 8  # one of so many combinations is never trained on


@dataclass(frozen=True)
class Timbre:
    """Partials as (multiple of the note, loudness, decay per second); attack in seconds."""

    partials: tuple[tuple[float, float, float], ...]
    attack: float


TIMBRES = {
    "bell": Timbre(((1, 1.0, 3.0), (2.76, 0.7, 5.0), (5.4, 0.5, 9.0)), 0.001),
    "flute": Timbre(((1, 1.0, 0.0), (2, 0.12, 0.0)), 0.06),
    "organ": Timbre(((1, 1.0, 0.0), (2, 0.8, 0.0), (3, 0.5, 0.0), (4, 0.5, 0.0), (6, 0.3, 0.0)), 0.012),
    "harp": Timbre(tuple((k, 1 / k**0.7, 2.5 * k) for k in range(1, 9)), 0.002),
}


@dataclass(frozen=True)
class Sound:
    """notes: degrees of the scale (0 to 7) or REST, one after the other."""

    melody: str
    timbre: str
    tempo: str
    register: str
    notes: tuple[int, ...]

    @property
    def caption(self) -> str:
        return caption(self.melody, self.timbre, self.tempo, self.register)


def caption(melody: str, timbre: str, tempo: str = "", register: str = "") -> str:
    words = " ".join(word for word in (tempo, register, melody) if word)
    return f"{article(words)} on {article(timbre)}"


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def combinations() -> list[tuple[str, str, str, str]]:
    """(melody, timbre, tempo, register), all there are."""
    return list(product(MELODIES, TIMBRES, TEMPI, REGISTERS))


def is_held_out(combination: tuple[str, str, str, str]) -> bool:
    """A fixed choice, by the words alone."""
    return zlib.crc32(" ".join(combination).encode()) % HELD_OUT == 0


def draw(rng: np.random.Generator, combination: tuple[str, str, str, str] | None = None) -> Sound:
    """A sound of that combination, or of any that training may show; what a caption leaves open is drawn."""
    if combination is None:
        allowed = [c for c in combinations() if not is_held_out(c)]
        combination = allowed[rng.integers(len(allowed))]
    melody, timbre, tempo, register = combination
    count = -(-FRAMES // TEMPI[tempo])
    return Sound(melody, timbre, tempo, register, tuple(_notes(melody, count, rng)))


def _notes(melody: str, count: int, rng: np.random.Generator) -> list[int]:
    """Degrees of a pattern that repeats, from any of its places on, with or without a rest after each repetition."""
    degree = int(rng.integers(7))
    pattern = {
        "rising scale": [0, 1, 2, 3, 4, 5, 6, 7],
        "falling scale": [7, 6, 5, 4, 3, 2, 1, 0],
        "arpeggio": [0, 2, 4, 7, 4, 2],
        "trill": [degree, degree + 1] * 4,
        "repeated note": [degree] * 7,
        "waltz": [0, 4, 4, 3, 5, 5],
    }[melody]
    pattern = pattern + [REST] * int(rng.integers(2))
    start = int(rng.integers(len(pattern)))
    return [pattern[(start + place) % len(pattern)] for place in range(count)]


def frequency(register: str, degree: int) -> float:
    return REGISTERS[register] * RATIOS[degree]


@cache
def note(timbre: str, register: str, degree: int, frames: int) -> np.ndarray:
    """-> [frames * HOP] float32."""
    if degree == REST:
        return np.zeros(frames * HOP, np.float32)
    made, pitch = TIMBRES[timbre], frequency(register, degree)
    seconds = np.arange(frames * HOP) / RATE
    wave = np.zeros(len(seconds))
    for multiple, loudness, decay in made.partials:
        hertz = round(pitch * multiple / GRID) * GRID
        if hertz < 0.45 * RATE:
            wave += loudness * np.exp(-decay * seconds) * np.sin(2 * np.pi * hertz * seconds)
    total = sum(loudness for _, loudness, _ in made.partials)
    fade_in = np.minimum(1, seconds / made.attack)
    fade_out = np.minimum(1, (seconds[-1] - seconds) / 0.012)
    return (0.7 * wave / total**0.7 * fade_in * fade_out).astype(np.float32)


def render(sound: Sound) -> np.ndarray:
    """-> [FRAMES * HOP] float32 in -1..1."""
    parts = [note(sound.timbre, sound.register, degree, TEMPI[sound.tempo]) for degree in sound.notes]
    return np.concatenate(parts)[: FRAMES * HOP]
