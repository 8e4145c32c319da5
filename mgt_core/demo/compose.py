"""Captioned scenes: flat background, one or two emoji; the text fixes all that is drawn."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from .subjects import COLOURS, Subject, resize_rgba

CANVAS = 64
NORMAL, SMALL, LARGE, PLACED, PAIRED = 52, 32, 64, 40, 32
HELD_OUT_PERCENT = 8
# Shifts by whole tokens: other phases would make the codes harder to learn and add nothing to see.
SHIFT = 4
PLURALS = frozenset(
    "glasses sunglasses jeans eyes scissors gloves socks fries cherries grapes footprints fireworks lungs shorts "
    "skis books houses".split()
)


@dataclass(frozen=True)
class Item:
    """One sprite: index of its subject, edge length and top-left corner in pixels."""

    subject: int
    size: int
    left: int
    top: int


@dataclass(frozen=True)
class Scene:
    caption: str
    colour: str
    items: tuple[Item, ...]


def held_out(subject: str, colour: str) -> bool:
    """Whether this (subject, colour) pair is kept from training; the same on every machine."""
    return zlib.crc32(f"{subject}|{colour}".encode()) % 100 < HELD_OUT_PERCENT


def with_article(name: str) -> str:
    if name in PLURALS:
        return name
    return f"an {name}" if name[0] in "aeiou" and not name.startswith(("uni", "ufo")) else f"a {name}"


def plain_caption(name: str, colour: str) -> str:
    return f"{with_article(name)} on a{'n' if colour[0] == 'o' else ''} {colour} background"


class SceneSampler:
    """Draws scenes for a list of subjects from one numpy Generator."""

    def __init__(self, subjects: tuple[Subject, ...] | list[Subject], rng: np.random.Generator) -> None:
        self.names = [subject.name for subject in subjects]
        self.colours = list(COLOURS)
        self.rng = rng

    def draw(self) -> Scene:
        """One training scene; never shows a held-out pair."""
        while True:
            kind = self.rng.random()
            scene = self._single() if kind < 0.8 else self._placed() if kind < 0.9 else self._pair()
            if not any(held_out(self.names[item.subject], scene.colour) for item in scene.items):
                return scene

    def _pick(self, *options: str) -> str:
        return options[self.rng.integers(len(options))]

    def _colour(self) -> str:
        return "white" if self.rng.random() < 0.1 else self.colours[self.rng.integers(len(self.colours))]

    def _subject(self) -> int:
        return int(self.rng.integers(len(self.names)))

    def _ground(self, colour: str) -> str:
        """How a caption ends; no colour named means white."""
        article = "an" if colour[0] == "o" else "a"
        long, short = f" on {article} {colour} background", f" on {colour}"
        return self._pick(long, short, "", "") if colour == "white" else self._pick(long, long, long, short)

    def _single(self) -> Scene:
        subject, colour = self._subject(), self._colour()
        name = self.names[subject]
        lead = with_article(name) if self.rng.random() < 0.75 else name
        shift = SHIFT * self.rng.integers(-1, 2, size=2) if self.rng.random() < 0.09 else (0, 0)
        corner = (CANVAS - NORMAL) // 2
        item = Item(subject, NORMAL, corner + int(shift[0]), corner + int(shift[1]))
        return Scene(lead + self._ground(colour), colour, (item,))

    def _placed(self) -> Scene:
        subject, colour = self._subject(), self._colour()
        name = self.names[subject]
        word = self._pick("small", "large", "left", "right", "top", "bottom")
        if word in ("small", "large"):
            size = SMALL if word == "small" else LARGE
            corner = (CANVAS - size) // 2
            caption = f"{'' if name in PLURALS else 'a '}{word} {name}{self._ground(colour)}"
            return Scene(caption, colour, (Item(subject, size, corner, corner),))
        middle, far = (CANVAS - PLACED) // 2, CANVAS - PLACED
        left, top = {"left": (0, middle), "right": (far, middle), "top": (middle, 0), "bottom": (middle, far)}[word]
        caption = f"{with_article(name)} {'on' if word in ('left', 'right') else 'at'} the {word}"
        if colour != "white" or self.rng.random() < 0.5:
            caption += f" of a{'n' if colour[0] == 'o' else ''} {colour} background"
        return Scene(caption, colour, (Item(subject, PLACED, left, top),))

    def _pair(self) -> Scene:
        first, second, colour = self._subject(), self._subject(), self._colour()
        word = self._pick("and", "to the left of", "to the right of", "above", "below")
        corner, half = (CANVAS - PAIRED) // 2, CANVAS // 2
        if word in ("above", "below"):
            spots = ((corner, 0), (corner, half))
        else:
            spots = ((0, corner), (half, corner))
        if word in ("below", "to the right of"):
            spots = spots[::-1]
        items = tuple(Item(s, PAIRED, *spot) for s, spot in zip((first, second), spots))
        names = with_article(self.names[first]), with_article(self.names[second])
        return Scene(f"{names[0]} {word} {names[1]}{self._ground(colour)}", colour, items)


class Renderer:
    """Pastes sprites [N, S, S, 4] uint8 on flat backgrounds."""

    def __init__(self, sprites: np.ndarray) -> None:
        self.sprites = sprites
        self._sized = functools.lru_cache(maxsize=4096)(self._resize)

    def _resize(self, subject: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """-> premultiplied colour and alpha, both float32 in 0..1."""
        sprite = resize_rgba(self.sprites[subject], size).astype(np.float32) / 255
        return sprite[..., :3] * sprite[..., 3:], sprite[..., 3:]

    def paste(self, canvas: np.ndarray, item: Item) -> None:
        """Draw on `canvas` [H, W, 3] float32 in place; what falls outside is cut off."""
        colour, alpha = self._sized(item.subject, item.size)
        height, width = canvas.shape[:2]
        top, left = max(item.top, 0), max(item.left, 0)
        bottom, right = min(item.top + item.size, height), min(item.left + item.size, width)
        inner = np.s_[top - item.top : bottom - item.top, left - item.left : right - item.left]
        target = canvas[top:bottom, left:right]
        target *= 1 - alpha[inner]
        target += colour[inner]

    def render(self, scene: Scene) -> np.ndarray:
        """-> [64, 64, 3] float32 in 0..1."""
        canvas = np.empty((CANVAS, CANVAS, 3), np.float32)
        canvas[:] = np.asarray(COLOURS[scene.colour], np.float32) / 255
        for item in scene.items:
            self.paste(canvas, item)
        return canvas


def plain_scene(subjects: tuple[Subject, ...] | list[Subject], subject: int, colour: str) -> Scene:
    corner = (CANVAS - NORMAL) // 2
    return Scene(plain_caption(subjects[subject].name, colour), colour, (Item(subject, NORMAL, corner, corner),))


def held_out_scenes(subjects: tuple[Subject, ...] | list[Subject], count: int, seed: int = 0) -> list[Scene]:
    """`count` plain scenes with pairs that training never shows, subjects spread evenly."""
    pairs = [(i, colour) for i, s in enumerate(subjects) for colour in COLOURS if held_out(s.name, colour)]
    order = np.random.default_rng(seed).permutation(len(pairs))
    seen: dict[int, int] = {}
    ranked = []
    for position in order:
        subject = pairs[position][0]
        seen[subject] = seen.get(subject, 0) + 1
        ranked.append((seen[subject], len(ranked), pairs[position]))
    return [plain_scene(subjects, *pair) for _, _, pair in sorted(ranked)[:count]]
