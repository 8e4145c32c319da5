"""Melodies of synthetic instruments, and their captions.

A frame of the codec lasts 40 ms, every note begins with a frame, and every partial is a multiple of 25 Hz: a held note
looks the same in every frame, so that few codes tell it and they mean the same everywhere. The scale is the major one
in just intonation (24:27:30:32:36:40:45:48), whose notes are such multiples.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

RATE, HOP = 8000, 320
FRAMES = 100  # of a sound, 4 seconds
GRID = 25  # Hz
SCALE = (600, 675, 750, 800, 900, 1000, 1125, 1200)  # Hz
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
    notes: tuple[int, ...]

    @property
    def caption(self) -> str:
        return caption(self.melody, self.timbre, self.tempo)


def caption(melody: str, timbre: str, tempo: str = "") -> str:
    words = " ".join(word for word in (tempo, melody) if word)
    return f"{article(words)} on {article(timbre)}"


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def combinations() -> list[tuple[str, str, str]]:
    """(melody, timbre, tempo), all there are."""
    return list(product(MELODIES, TIMBRES, TEMPI))


def is_held_out(combination: tuple[str, str, str]) -> bool:
    """A fixed choice, by the words alone."""
    return zlib.crc32(" ".join(combination).encode()) % HELD_OUT == 0


def draw(rng: np.random.Generator, combination: tuple[str, str, str] | None = None, loose: bool = False) -> Sound:
    """A sound of that combination, or of any that training may show; what a caption leaves open is drawn. loose: see
    `every_sound`."""
    if combination is None:
        allowed = [c for c in combinations() if not is_held_out(c)]
        combination = allowed[rng.integers(len(allowed))]
    known = every_sound(combination, loose)
    return known[rng.integers(len(known))]


@cache
def every_sound(combination: tuple[str, str, str], loose: bool = False) -> tuple[Sound, ...]:
    """All that there are of it. A pattern begins with its first note or halfway; loose, for the codec alone: with any,
    and there may be a rest after each repetition."""
    made = []
    for pattern in patterns(combination[0]):
        for notes in (pattern, (*pattern, REST)) if loose else (pattern,):
            starts = range(len(notes)) if loose else (0, len(notes) // 2)
            made += [from_place(combination, notes, start) for start in starts]
    return tuple(dict.fromkeys(made))


def patterns(melody: str) -> list[tuple[int, ...]]:
    """Degrees that repeat; a trill and a repeated note may be on any."""
    return {
        "rising scale": [(0, 1, 2, 3, 4, 5, 6, 7)],
        "falling scale": [(7, 6, 5, 4, 3, 2, 1, 0)],
        "arpeggio": [(0, 2, 4, 7, 4, 2)],
        "trill": [(degree, degree + 1) for degree in range(7)],
        "repeated note": [(degree,) for degree in range(8)],
        "waltz": [(0, 4, 4, 3, 5, 5)],
    }[melody]


def from_place(combination: tuple[str, str, str], pattern: tuple[int, ...], start: int) -> Sound:
    count = -(-FRAMES // TEMPI[combination[2]])
    return Sound(*combination, tuple(pattern[(start + place) % len(pattern)] for place in range(count)))


@cache
def note(timbre: str, degree: int, frames: int) -> np.ndarray:
    """-> [frames * HOP] float32."""
    if degree == REST:
        return np.zeros(frames * HOP, np.float32)
    made, pitch = TIMBRES[timbre], SCALE[degree]
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
    parts = [note(sound.timbre, degree, TEMPI[sound.tempo]) for degree in sound.notes]
    return np.concatenate(parts)[: FRAMES * HOP]
