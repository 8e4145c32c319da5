"""Held-out prompts: two with one object and then one with two, over and over; or of one object alone."""

from itertools import chain

from recipe.data.scenes import Scene, evaluation_scenes, held_out_scenes
from recipe.data.subjects import load_subjects

KINDS = 3  # prompts in a round


def single_objects(count: int, start: int = 0) -> list[Scene]:
    """`count` held-out prompts of one object, from the `start`-th on; fewer where there are no more."""
    return held_out_scenes(load_subjects(), start + count)[start:]


def whole_rounds(count: int) -> int:
    """`count` rounded up, so that every run holds both kinds in the same shares."""
    return -(-count // KINDS) * KINDS


def prompts(count: int, start: int = 0) -> list[Scene]:
    """`count` scenes from the `start`-th of one endless list on; both are whole rounds."""
    total = start + count
    scenes = evaluation_scenes(load_subjects(), total)
    pairs = total // KINDS
    singles, doubles = scenes[: total - pairs], scenes[total - pairs :]
    return list(chain(*zip(singles[::2], singles[1::2], doubles, strict=True)))[start:]
