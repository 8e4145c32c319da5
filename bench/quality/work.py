"""Pictures of every case, kept on disk case by case: a stop loses one case, and several processes share the work."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import mgt_core
from mgt_core.files import claimed, replace_file
from mgt_core.files import sweep as sweep_away

from ..kept import kept, pictures_in
from .cases import VANILLA, choices, sweeps, twin
from .decoding import Case, decode
from .prompts import prompts, whole_rounds

AGAIN = 6  # one in so many prompts is drawn with a second seed, which tells how much pictures differ by seed
FAR = 1_000_000  # between first and second seeds


@dataclass(frozen=True)
class Extent:
    """How much is measured. prompts: of the choices; sweep_prompts: of what only a sweep asks for;
    start: the first of the list."""

    prompts: int = 15
    sweep_prompts: int = 12
    seed: int = 0
    start: int = 0


@dataclass(frozen=True)
class Pictures:
    """images: [P, H, W, 3] uint8; again: [A, H, W, 3] uint8, the first prompts with another seed; tokens: [P, h, w];
    calls and passes an image; seconds an image."""

    images: np.ndarray
    again: np.ndarray
    tokens: np.ndarray
    calls: float
    passes: float
    seconds: float

    def first(self, count: int) -> "Pictures":
        """Those of the first prompts."""
        held = asdict(self) | {"images": self.images[:count], "tokens": self.tokens[:count]}
        return Pictures(**held | {"again": self.again[: drawn_again(count)]})


def drawn_again(count: int) -> int:
    """How many of `count` prompts get a second seed."""
    return whole_rounds(max(1, count // AGAIN))


def draw(pipe: mgt_core.Pipeline, case: Case, settings: dict, extent: Extent, count: int) -> Pictures:
    """The pictures of the first `count` prompts; that of prompt i has the seed `seed + i`, wherever it begins."""
    scenes, seed = prompts(count, extent.start), extent.seed + extent.start
    first = decode(pipe, case, scenes, settings, seed)
    second = decode(pipe, case, scenes[: drawn_again(count)], settings, seed + FAR)
    seconds = (first.seconds + second.seconds) / (len(first.images) + len(second.images))
    images, again = ((done.images * 255).round().astype(np.uint8) for done in (first, second))
    return Pictures(images, again, first.tokens.short().numpy(), first.calls, first.passes, seconds)


def fingerprint(pipe: mgt_core.Pipeline) -> str:
    """What tells this model from others: the weights of all parts."""
    digest = hashlib.sha256()
    for part in (pipe.model, pipe.text, pipe.codec):
        for name, tensor in sorted(part.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


class Store:
    """A folder of finished cases of one model with one base setting."""

    def __init__(self, root: Path, model: str, settings: Mapping, extent: Extent):
        told = json.dumps([model, dict(settings), extent.seed, extent.start], sort_keys=True)
        self.folder = root / f"{model}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_away(self.folder)

    def path(self, case: Case) -> Path:
        return self.folder / (re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-") + ".npz")

    def read(self, case: Case, count: int) -> Pictures | None:
        """Its pictures of the first `count` prompts, or None where there are not as many."""
        found = kept(self.path(case), lambda file: pictures_in(file, Pictures))
        return found.first(count) if found and len(found.images) >= count else None

    def write(self, case: Case, pictures: Pictures) -> None:
        packed = io.BytesIO()
        np.savez_compressed(packed, **asdict(pictures))
        replace_file(self.path(case), packed.getvalue())


def twins(settings: dict, passes: Mapping[str, float]) -> dict[str, Case]:
    """Vanilla at as many passes, for each choice that is known not to make as many as vanilla does."""
    names = [case.name for case in choices(settings) if case.name in passes and VANILLA in passes]
    found = {name: twin(passes[name], passes[VANILLA], settings) for name in names}
    return {name: case for name, case in found.items() if case.name != VANILLA}


def planned(settings: dict, extent: Extent, passes: Mapping[str, float]) -> dict[str, tuple[Case, int]]:
    """Case and number of prompts by name. passes: of the cases that are done. Sweeps come last, that of the steps
    after the others, so that it is known by then which of its points serve as those of equal passes."""
    full, few = whole_rounds(extent.prompts), whole_rounds(extent.sweep_prompts)
    plan = {case.name: (case, full) for case in (*choices(settings), *twins(settings, passes).values())}
    for sweep in sorted(sweeps(settings), key=lambda sweep: sweep.name == "steps"):
        for case in sweep.points.values():
            plan.setdefault(case.name, (case, few))
    return plan


def work(
    pipe: mgt_core.Pipeline,
    settings: dict,
    extent: Extent,
    store: Store,
    tell: Callable[[str], None] = lambda line: None,
    only: Collection[str] = (),
    drawing: bool = True,
) -> dict[str, tuple[Case, int]] | None:
    """Draw what no process has drawn yet. -> case and number of prompts by name, or None while others still work.

    only: names of the cases to make; all by default. drawing: False to look only at what is there.
    """
    done: dict[str, int] = {}
    passes: dict[str, float] = {}
    waiting = True
    while waiting:
        plan = planned(settings, extent, passes)
        plan = {name: entry for name, entry in plan.items() if name in (only or plan)}
        waiting = False
        for name, (case, count) in plan.items():
            if done.get(name, 0) >= count:
                continue
            with claimed(store.path(case)) as mine:
                found = store.read(case, count)
                if found is None and mine and drawing:
                    found = draw(pipe, case, settings, extent, count)
                    store.write(case, found)
                    tell(f"{len(done) + 1} of {len(plan)}: {name}, {found.seconds:.2f} s an image")
            if found is not None:
                done[name], passes[name], waiting = count, found.passes, True
                break
    return plan if all(done.get(name, 0) >= count for name, (_, count) in plan.items()) else None
