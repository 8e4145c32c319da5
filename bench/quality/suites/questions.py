"""Open captions: what each allows, how likely each of it is in training, and what a picture of it answers."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import mgt_core
from recipe.data.open_captions import AXES, open_captions
from recipe.data.scenes import Scene, SceneSampler
from recipe.data.subjects import COLOURS, load_subjects
from recipe.judge.placements import Placed, shown

UNPROMPTED = "unprompted"
SAMPLES = 20_000  # of training's scenes, for the distribution of their backgrounds
OUTSIDE = -1


@dataclass(frozen=True)
class Question:
    """One caption. answers: what a reading may show -> which of the allowed kinds it is; weights: [kinds], their
    probabilities; scenes: one of each kind."""

    caption: str
    answers: Mapping
    weights: np.ndarray
    scenes: tuple[Scene, ...]

    def answer(self, reading: Placed) -> int:
        """The kind that a picture is, or OUTSIDE where it is none of them, or no good drawing."""
        return self.answers.get(reading.shows, OUTSIDE) if reading.good else OUTSIDE

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene as training would show it."""
        return self.scenes[rng.choice(len(self.scenes), p=self.weights)]


@dataclass(frozen=True)
class Unprompted(Question):
    """The empty caption: any good drawing is allowed, and its kind is its background."""

    def answer(self, reading: Placed) -> int:
        return self.answers[reading.colour] if reading.good else OUTSIDE

    def draw(self, rng: np.random.Generator) -> Scene:
        return SceneSampler(load_subjects(), rng).draw()


def axes() -> list[str]:
    return [*AXES, UNPROMPTED]


def questions(axis: str, count: int, seed: int = 0) -> list[Question]:
    """`count` captions, always the same; fewer where there are no more."""
    if axis == UNPROMPTED:
        return [_unprompted()] * count
    found = []
    for caption in open_captions(load_subjects(), axis, count, seed):
        kinds: dict = {}
        for scene, weight in zip(caption.scenes, caption.weights, strict=True):
            kinds[shown(scene)] = kinds.get(shown(scene), 0.0) + float(weight)  # two scenes may look alike
        alike = {shown(scene): scene for scene in caption.scenes}
        answers = {kind: place for place, kind in enumerate(kinds)}
        weights, scenes = np.array(list(kinds.values())), tuple(alike[kind] for kind in kinds)
        found.append(Question(caption.caption, answers, weights, scenes))
    return found


@functools.cache
def _unprompted() -> Question:
    sampler = SceneSampler(load_subjects(), np.random.default_rng(0))
    answers = {colour: place for place, colour in enumerate(COLOURS)}
    drawn = np.bincount([answers[sampler.draw().colour] for _ in range(SAMPLES)], minlength=len(answers))
    return Unprompted("", answers, drawn / SAMPLES, ())


class OpenCaptions:
    """A suite as `store` draws it: every chunk asks each caption of one axis once, with other seeds."""

    def __init__(self, settings: Mapping, axis: str, count: int, seed: int = 0):
        self.settings, self.axis, self.seed = settings, axis, seed
        self.questions = questions(axis, count, seed)
        self.chunk = len(self.questions)
        self.name = f"open {axis}, {self.chunk} captions"

    def begin(self, pipe: mgt_core.Pipeline, start: int) -> tuple[list[Scene], None]:
        return [Scene(question.caption, "", ()) for question in self.questions], None

    def truth(self, start: int) -> list[Scene]:
        """What training might show for the chunk that starts there."""
        own = [self.seed, axes().index(self.axis)]
        return [q.draw(np.random.default_rng([*own, start + i])) for i, q in enumerate(self.questions)]
