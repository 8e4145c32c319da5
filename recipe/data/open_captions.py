"""Captions that leave something open, with every scene that they allow and its probability in training.

What is open is drawn uniformly there, and scenes with a held-out pair of subject and background are drawn anew: so
the conditional is uniform over the allowed scenes that hold none. Where the caption fixes subject and background, a
held-out pair is asked for on purpose, and its conditional is that of any other pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from .groups import COUNTS, members, plural, with_article
from .scenes import (
    PLACES,
    RELATIONS,
    SLOTS,
    Item,
    Scene,
    centred,
    ground,
    held_out,
    in_slots,
    pair_items,
    placed,
    sized_name,
)
from .subjects import COLOURS, Subject


@dataclass(frozen=True)
class OpenCaption:
    """scenes: what the caption allows; weights: [len(scenes)], what they sum to is 1. axis: what is open."""

    caption: str
    axis: str
    scenes: tuple[Scene, ...]
    weights: np.ndarray = field(compare=False)


def _uniform(caption: str, axis: str, scenes: Sequence[tuple[str, tuple[Item, ...]]]) -> OpenCaption:
    made = tuple(Scene(caption, colour, items) for colour, items in scenes)
    return OpenCaption(caption, axis, made, np.full(len(made), 1 / len(made)))


Draw = Callable[[Sequence[Subject], np.random.Generator], OpenCaption]


def _open_subject(subjects: Sequence[Subject], rng: np.random.Generator) -> OpenCaption:
    groups, colour = members(subjects), _pick(rng, list(COLOURS))
    group = _pick(rng, [name for name, found in groups.items() if found])
    allowed = [s for s in groups[group] if not held_out(subjects[s].name, colour)]
    return _uniform(with_article(group) + ground(colour), "subject", [(colour, (centred(s),)) for s in allowed])


def _open_colour(subjects: Sequence[Subject], rng: np.random.Generator) -> OpenCaption:
    subject = int(rng.integers(len(subjects)))
    allowed = [colour for colour in COLOURS if not held_out(subjects[subject].name, colour)]
    return _uniform(with_article(subjects[subject].name), "colour", [(c, (centred(subject),)) for c in allowed])


def _open_place(subjects: Sequence[Subject], rng: np.random.Generator) -> OpenCaption:
    subject, colour = _asked_pair(subjects, rng)
    caption = sized_name("small", subjects[subject].name) + ground(colour)
    return _uniform(caption, "place", [(colour, (placed(subject, place),)) for place in PLACES])


def _open_arrangement(subjects: Sequence[Subject], rng: np.random.Generator) -> OpenCaption:
    first, colour = _asked_pair(subjects, rng)
    others = [i for i, s in enumerate(subjects) if i != first and _asked(s.name, colour)]
    if not others:
        return _open_arrangement(subjects, rng)
    second = _pick(rng, others)
    names = (with_article(subjects[i].name) for i in (first, second))
    scenes = [(colour, pair_items(first, second, relation)) for relation in RELATIONS]
    return _uniform(" and ".join(names) + ground(colour), "arrangement", scenes)


def _open_count(subjects: Sequence[Subject], rng: np.random.Generator) -> OpenCaption:
    subject, colour = _asked_pair(subjects, rng)
    number = _pick(rng, [number for number in COUNTS if number < len(SLOTS)])
    caption = f"{COUNTS[number]} {plural(subjects[subject].name)}{ground(colour)}"
    slots = combinations(range(len(SLOTS)), number)
    return _uniform(caption, "count", [(colour, in_slots(subject, chosen)) for chosen in slots])


AXES: dict[str, Draw] = {
    "subject": _open_subject,
    "colour": _open_colour,
    "place": _open_place,
    "arrangement": _open_arrangement,
    "count": _open_count,
}


def open_captions(subjects: Sequence[Subject], axis: str, count: int, seed: int = 0) -> list[OpenCaption]:
    """`count` different captions with `axis` open (one of AXES), fewer where there are no more."""
    rng, found = np.random.default_rng([seed, list(AXES).index(axis)]), {}
    meant = twice_meant(subjects)
    for _ in range(50 * count):
        if len(found) == count:
            break
        drawn = AXES[axis](subjects, rng)
        if not any(subjects[item.subject].name in meant for item in drawn.scenes[0].items) or axis == "subject":
            found.setdefault(drawn.caption, drawn)
    return list(found.values())


def twice_meant(subjects: Sequence[Subject]) -> set[str]:
    """Names of which a caption may mean another subject too: "two houses", "a small airplane"."""
    said: dict[str, set[str]] = {}
    for subject in subjects:
        for words in (with_article(subject.name), sized_name("small", subject.name), f"two {plural(subject.name)}"):
            said.setdefault(words, set()).add(subject.name)
    return {name for names in said.values() if len(names) > 1 for name in names}


def _asked(subject: str, colour: str) -> bool:
    """Whether captions that fix subject and background ask for these two."""
    return held_out(subject, colour)


def _asked_pair(subjects: Sequence[Subject], rng: np.random.Generator) -> tuple[int, str]:
    while True:
        subject, colour = int(rng.integers(len(subjects))), _pick(rng, list(COLOURS))
        if _asked(subjects[subject].name, colour):
            return subject, colour


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]
