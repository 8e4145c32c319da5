"""Captioned scenes: flat background, one or two emoji; the text fixes all that is drawn."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from .subjects import COLOURS, Subject, resize_rgba

CANVAS = 128
# Edge lengths in pixels. Whatever is half size stands on whole tokens, so that it has the same codes wherever it is.
NORMAL, LARGE, HALF = 104, 128, 64
HELD_OUT_PERCENT = 8
SINGLE, PLACED = 0.6, 0.12  # shares of the training scenes; the rest are pairs
RELATIONS = ("to the left of", "to the right of", "above", "below")
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


def ground(colour: str) -> str:
    return f" on a{'n' if colour[0] == 'o' else ''} {colour} background"


def plain_caption(name: str, colour: str) -> str:
    return with_article(name) + ground(colour)


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
            scene = self._single() if kind < SINGLE else self._placed() if kind < SINGLE + PLACED else self._pair()
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
        long, short = ground(colour), f" on {colour}"
        return self._pick(long, short, "", "") if colour == "white" else self._pick(long, long, long, short)

    def _single(self) -> Scene:
        subject, colour = self._subject(), self._colour()
        name = self.names[subject]
        lead = with_article(name) if self.rng.random() < 0.75 else name
        corner = (CANVAS - NORMAL) // 2
        return Scene(lead + self._ground(colour), colour, (Item(subject, NORMAL, corner, corner),))

    def _placed(self) -> Scene:
        subject, colour = self._subject(), self._colour()
        name = self.names[subject]
        word = self._pick("small", "large", "left", "right", "top", "bottom")
        if word in ("small", "large"):
            size = HALF if word == "small" else LARGE
            corner = (CANVAS - size) // 2
            caption = f"{'' if name in PLURALS else 'a '}{word} {name}{self._ground(colour)}"
            return Scene(caption, colour, (Item(subject, size, corner, corner),))
        middle, far = (CANVAS - HALF) // 2, CANVAS - HALF
        left, top = {"left": (0, middle), "right": (far, middle), "top": (middle, 0), "bottom": (middle, far)}[word]
        caption = f"{with_article(name)} {'on' if word in ('left', 'right') else 'at'} the {word}"
        if colour != "white" or self.rng.random() < 0.5:
            caption += f" of a{'n' if colour[0] == 'o' else ''} {colour} background"
        return Scene(caption, colour, (Item(subject, HALF, left, top),))

    def _pair(self) -> Scene:
        first, second, colour = self._subject(), self._subject(), self._colour()
        relation = self._pick("and", *RELATIONS)
        names = with_article(self.names[first]), with_article(self.names[second])
        caption = f"{names[0]} {relation} {names[1]}{self._ground(colour)}"
        return Scene(caption, colour, pair_items(first, second, relation))


def pair_items(first: int, second: int, relation: str) -> tuple[Item, Item]:
    """Two halves of the picture; "and" stands from left to right."""
    corner, half = (CANVAS - HALF) // 2, CANVAS // 2
    spots = ((corner, 0), (corner, half)) if relation in ("above", "below") else ((0, corner), (half, corner))
    if relation in ("below", "to the right of"):
        spots = spots[::-1]
    return Item(first, HALF, *spots[0]), Item(second, HALF, *spots[1])


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
        """-> [128, 128, 3] float32 in 0..1."""
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


def held_out_pairs(subjects: tuple[Subject, ...] | list[Subject], count: int, seed: int = 0) -> list[Scene]:
    """`count` scenes of two different subjects, neither of them ever shown on that background in training."""
    rng = np.random.default_rng(seed)
    colours = {colour: [i for i, s in enumerate(subjects) if held_out(s.name, colour)] for colour in COLOURS}
    scenes: dict[str, Scene] = {}
    while (number := len(scenes)) < count:
        colour, relation = list(COLOURS)[number % len(COLOURS)], RELATIONS[number // len(COLOURS) % len(RELATIONS)]
        first, second = map(int, rng.choice(colours[colour], 2, replace=False))
        names = (with_article(subjects[i].name) for i in (first, second))
        caption = f" {relation} ".join(names) + ground(colour)
        scenes[caption] = Scene(caption, colour, pair_items(first, second, relation))
    return list(scenes.values())


def evaluation_scenes(subjects: tuple[Subject, ...] | list[Subject], count: int) -> list[Scene]:
    """`count` held-out prompts: two thirds with one object, as far as they go, the rest with two."""
    single = held_out_scenes(subjects, -(-2 * count // 3))
    return single + held_out_pairs(subjects, count - len(single))
