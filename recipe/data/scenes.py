"""Captioned scenes: a flat background and one to four emoji. What a caption does not say is drawn at random, from
distributions that open_captions.py writes down."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .groups import COUNTS, members, plural, with_article
from .subjects import COLOURS, Subject, resize_rgba

CANVAS = 128
# Edge lengths in pixels. Whatever is half size stands on whole tokens, so that it has the same codes wherever it is.
NORMAL, LARGE, HALF = 104, 128, 64
HELD_OUT_PERCENT = 8
# Shares of the training scenes; the rest are pairs.
SINGLE, PLACED, COUNTED = 0.45, 0.14, 0.14
NO_COLOUR, BY_GROUP = 0.15, 0.2  # shares of the captions that leave out the background, or the subject's own name
RELATIONS = ("to the left of", "to the right of", "above", "below")
_MIDDLE, _FAR = (CANVAS - HALF) // 2, CANVAS - HALF
# Left and top of half-size objects, by the words for their places.
PLACES = {
    "middle": (_MIDDLE, _MIDDLE),
    "left": (0, _MIDDLE),
    "right": (_FAR, _MIDDLE),
    "top": (_MIDDLE, 0),
    "bottom": (_MIDDLE, _FAR),
}
SLOTS = ((0, 0), (_FAR, 0), (0, _FAR), (_FAR, _FAR))  # of objects that are counted


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


def ground(colour: str) -> str:
    return f" on a{'n' if colour[0] == 'o' else ''} {colour} background"


def plain_caption(name: str, colour: str) -> str:
    return with_article(name) + ground(colour)


class SceneSampler:
    """Draws scenes for a list of subjects from one numpy Generator."""

    def __init__(self, subjects: tuple[Subject, ...] | list[Subject], rng: np.random.Generator) -> None:
        self.names = [subject.name for subject in subjects]
        self.groups = {name: found for name, found in members(subjects).items() if found}
        self.colours = list(COLOURS)
        self.rng = rng

    def draw(self) -> Scene:
        """One training scene; never shows a held-out pair."""
        kinds = self._single, self._placed, self._counted, self._pair
        ends = np.cumsum((SINGLE, PLACED, COUNTED))
        while True:
            scene = kinds[np.searchsorted(ends, self.rng.random(), side="right")]()
            if not any(held_out(self.names[item.subject], scene.colour) for item in scene.items):
                return scene

    def _pick(self, *options):
        return options[self.rng.integers(len(options))]

    def _colour(self) -> str:
        return self._pick(*self.colours)

    def _subject(self) -> int:
        return int(self.rng.integers(len(self.names)))

    def _named(self) -> tuple[int, str]:
        """A subject, and what the caption calls it: its own name, or that of a group it was drawn from."""
        if not self.groups or self.rng.random() >= BY_GROUP:
            subject = self._subject()
            return subject, self.names[subject]
        group = self._pick(*self.groups)
        return int(self._pick(*self.groups[group])), group

    def _ground(self, colour: str) -> str:
        """How a caption ends, whichever the colour is."""
        if self.rng.random() < NO_COLOUR:
            return ""
        return ground(colour) if self.rng.random() < 0.75 else f" on {colour}"

    def _single(self) -> Scene:
        (subject, name), colour = self._named(), self._colour()
        lead = with_article(name) if self.rng.random() < 0.75 else name
        return Scene(lead + self._ground(colour), colour, (centred(subject),))

    def _placed(self) -> Scene:
        (subject, name), colour = self._named(), self._colour()
        word = self._pick("small", "small", "large", "left", "right", "top", "bottom")
        if word == "small":
            return Scene(sized_name("small", name) + self._ground(colour), colour, (placed(subject, self._place()),))
        if word == "large":
            return Scene(sized_name("large", name) + self._ground(colour), colour, (Item(subject, LARGE, 0, 0),))
        caption = f"{with_article(name)} {'on' if word in ('left', 'right') else 'at'} the {word}"
        if self.rng.random() >= NO_COLOUR:
            caption += f" of a{'n' if colour[0] == 'o' else ''} {colour} background"
        return Scene(caption, colour, (placed(subject, word),))

    def _place(self) -> str:
        return self._pick(*PLACES)

    def _counted(self) -> Scene:
        subject, colour, number = self._subject(), self._colour(), int(self._pick(*COUNTS))
        slots = self._pick(*combinations(range(len(SLOTS)), number))
        caption = f"{COUNTS[number]} {plural(self.names[subject])}{self._ground(colour)}"
        return Scene(caption, colour, in_slots(subject, slots))

    def _pair(self) -> Scene:
        first, second, colour = self._subject(), self._subject(), self._colour()
        said = self._pick("and", *RELATIONS)
        relation = self._pick(*RELATIONS) if said == "and" else said
        names = with_article(self.names[first]), with_article(self.names[second])
        return Scene(f"{names[0]} {said} {names[1]}{self._ground(colour)}", colour, pair_items(first, second, relation))


def sized_name(size: str, name: str) -> str:
    return f"{size} {name}" if with_article(name) == name else f"a {size} {name}"


def centred(subject: int) -> Item:
    corner = (CANVAS - NORMAL) // 2
    return Item(subject, NORMAL, corner, corner)


def placed(subject: int, place: str) -> Item:
    return Item(subject, HALF, *PLACES[place])


def in_slots(subject: int, slots: Iterable[int]) -> tuple[Item, ...]:
    return tuple(Item(subject, HALF, *SLOTS[slot]) for slot in slots)


def pair_items(first: int, second: int, relation: str) -> tuple[Item, Item]:
    """Two halves of the picture, for one of RELATIONS."""
    names = ("top", "bottom") if relation in ("above", "below") else ("left", "right")
    spots = [PLACES[name] for name in names]
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
    return Scene(plain_caption(subjects[subject].name, colour), colour, (centred(subject),))


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
