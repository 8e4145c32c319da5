"""Pictures of the suites, kept a few at a time: a stop loses a few, and several processes share the work."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

import mgt_core
from mgt_core.files import claimed, replace_file
from mgt_core.files import sweep as sweep_away
from recipe.data.scenes import Scene
from recipe.judge.pictures import reconstruct, render

from ...kept import kept, pictures_in
from ...pace import mean
from ..decoding import Case, decode

CODEC = Case("*true pictures, through the codec*")  # what a suite's figures are at best


class Suite(Protocol):
    """An endless list of things to draw, drawn in chunks of equal length; thing i has the seed `seed + i`.

    name: tells it from suites that draw other things. settings: that every case starts from.
    """

    name: str
    chunk: int
    seed: int
    settings: Mapping

    def begin(self, pipe: mgt_core.Pipeline, start: int) -> tuple[list[Scene], mgt_core.TokenState | None]:
        """Captions of the chunk that starts there, and what their runs begin with (None: all masked)."""

    def truth(self, start: int) -> list[Scene]:
        """True scenes of the same chunk."""


@dataclass(frozen=True)
class Pictures:
    """images: [P, H, W, 3] uint8; calls and passes an image; seconds of the processor an image."""

    images: np.ndarray
    calls: float
    passes: float
    seconds: float

    @staticmethod
    def joined(parts: Iterable["Pictures"]) -> "Pictures":
        parts = list(parts)
        own = [(part.calls, part.passes) for part in parts for _ in part.images]
        calls, passes = (mean(counts) for counts in zip(*own, strict=True))
        images = np.concatenate([part.images for part in parts])
        return Pictures(images, calls, passes, sum(p.seconds * len(p.images) for p in parts) / len(images))


@dataclass(frozen=True)
class Job:
    """One chunk of one case."""

    suite: Suite
    case: Case
    start: int


def jobs(suite: Suite, case: Case, count: int, start: int = 0) -> list[Job]:
    """At least `count` pictures from the `start`-th on, in whole chunks."""
    return [Job(suite, case, first) for first in range(start, start + count, suite.chunk)]


class Chunks:
    """A folder of finished chunks of one model."""

    def __init__(self, root: Path, model: str):
        self.folder = root / f"{model}-suites"
        for suite in self.folder.glob("*"):
            sweep_away(suite)

    def path(self, job: Job) -> Path:
        told = json.dumps([dict(job.suite.settings), job.suite.seed, job.suite.chunk], sort_keys=True)
        suite = self.folder / f"{slug(job.suite.name)}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"
        suite.mkdir(parents=True, exist_ok=True)
        return suite / f"{slug(job.case.name)}-{job.start:05d}.npz"

    def read(self, job: Job) -> Pictures | None:
        return kept(self.path(job), lambda file: pictures_in(file, Pictures))

    def has(self, job: Job) -> bool:
        """Whether its pictures can be read."""
        return self.read(job) is not None

    def write(self, job: Job, pictures: Pictures) -> None:
        packed = io.BytesIO()
        np.savez_compressed(packed, **asdict(pictures))
        replace_file(self.path(job), packed.getvalue())

    def all_of(self, wanted: Iterable[Job]) -> Pictures | None:
        """Of several chunks, or None where one is missing."""
        found = [self.read(job) for job in wanted]
        return None if None in found or not found else Pictures.joined(found)


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def draw(pipe: mgt_core.Pipeline, job: Job) -> Pictures:
    if job.case is CODEC:
        rebuilt = reconstruct(pipe, render(job.suite.truth(job.start)))
        return Pictures((rebuilt * 255).round().astype(np.uint8), 0, 0, 0.0)
    scenes, given = job.suite.begin(pipe, job.start)
    done = decode(pipe, job.case, scenes, dict(job.suite.settings), job.suite.seed + job.start, given)
    images = (done.images * 255).round().astype(np.uint8)
    return Pictures(images, done.calls, done.passes, done.seconds / len(images))


def work(
    pipe: mgt_core.Pipeline, wanted: list[Job], chunks: Chunks, tell: Callable[[str], None] = lambda line: None
) -> bool:
    """Draw what no process has drawn yet. -> whether all of it is there; False while others still work."""
    missing = [job for job in wanted if not chunks.has(job)]
    for number, job in enumerate(missing):
        if chunks.has(job):
            continue
        with claimed(chunks.path(job)) as mine:
            if mine and not chunks.has(job):
                pictures = draw(pipe, job)
                chunks.write(job, pictures)
                told = f"{job.suite.name}, {job.case.name}, from {job.start}"
                tell(f"{number + 1} of {len(missing)}: {told}, {pictures.seconds:.2f} s an image")
    return all(chunks.has(job) for job in missing)
