"""Runs of two pictures on the pretended device, and how many kernels and waits there may be.

`MGT_UPDATE_DEVICE=1 ./mgt test tests/device` records the counts anew, after a change that is meant to move them.
"""

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

import mgt_core
from mgt_core import BACKBONES, Codec, ConditionPart, Conditions, MGTModel, Pipeline
from mgt_core.conditioning.text import TextEncoder

from .families import REFUSED, TECHNIQUES, blank, conditions, reference_tokens, run, steps_for
from .pretended import PretendedCUDA

UPDATE = bool(os.environ.get("MGT_UPDATE_DEVICE"))
SLACK = 1.03  # of the kernels that are recorded; of waits there is none
TIMES = 4  # steps of the runs here, so that what goes on and off does both between the first and the last
DRAWS = "sampling/draws.py"  # where numbers are accumulated in float64

Attach = Callable[[MGTModel], MGTModel]


def half_known(pipe: Pipeline) -> mgt_core.TokenState:
    """Half of the first image's cells are given, of the second's none."""
    state = blank(pipe)
    tokens = state.tokens.clone()
    tokens[0, half_of(state.grid)[0]] = 1
    return replace(state, tokens=tokens, fixed=tokens != state.mask_id)


def repainted(pipe: Pipeline) -> mgt_core.TokenState:
    state = blank(pipe)
    return replace(state, tokens=torch.ones_like(state.tokens), strength=0.9)


def half_of(grid: tuple[int, int]) -> torch.Tensor:
    """[1, h, w] bool: the upper half of a picture, or of the rows of a sound the beginning, which each of them has."""
    half = torch.zeros(1, *grid, dtype=torch.bool)
    half[(0, slice(0, grid[0] // 2)) if grid[0] == grid[1] else (0, slice(None), slice(0, grid[1] // 2))] = True
    return half


def regions(pipe: Pipeline) -> dict:
    """A part of the picture each, one of them for a part of the run alone; the rest is nobody's."""
    positive, negative = conditions(pipe)
    upper = half_of(blank(pipe).grid).float()
    parts = ConditionPart(positive, upper), ConditionPart(negative, 1 - upper, 0.0, 0.6)
    return {"positive": Conditions(parts), "negative": negative}


MERGING = {"ratio": 0.5, "blocks": "all"}


@dataclass(frozen=True)
class Case:
    """attach: what is done to the model. given: what the run is given otherwise. needs: of the backbone's hooks."""

    attach: Attach = lambda model: model
    given: Callable[[Pipeline], dict] = lambda pipe: {}
    needs: frozenset[str] = frozenset()


# Beside the techniques that every family is tried with, what takes other settings of them.
MERGES = frozenset({"merging"})
MORE = {
    "merging of known tokens": Case(
        lambda model: model.with_token_merging(**MERGING, known_only=True),
        lambda pipe: {"state": half_known(pipe)},
        MERGES,
    ),
    "merging of some images": Case(
        lambda model: model.with_token_merging(**MERGING, refresh=1),
        lambda pipe: {"state": half_known(pipe)},
        MERGES,
    ),
    "merging of MLPs, first cells": Case(
        lambda model: model.with_token_merging(ratio=0.5, random=False, part="mlp"), needs=MERGES
    ),
    "merging, cache and reuse": Case(
        lambda model: model.with_token_merging(**MERGING).with_token_cache(0.25, every=3).with_guidance_reuse(2),
        needs=frozenset({"merging", "cache"}),
    ),
    "parts of the picture": Case(given=regions),
    "image to image, most of the run": Case(given=lambda pipe: {"state": repainted(pipe)}),
    "known cells masked again": Case(
        given=lambda pipe: {"sampler": mgt_core.MaskGIT((45.0, 0.0), known_confidence=20.0), "temperature": None}
    ),
    "differential of masked cells": Case(
        lambda model: model.with_modifier(mgt_core.DifferentialSampling(positions="masked"))
    ),
    "local guidance": Case(
        lambda model: model.with_patch(
            mgt_core.ReferencePicture(reference_tokens(model), local_guidance=0.5, rows=(1, 2))
        ),
        needs=frozenset({"reference"}),
    ),
    "uneven masks": Case(given=lambda pipe: {"state": half_known(pipe)}),
}
CASES = [name for name in TECHNIQUES if not name.startswith("schedule ")] + [*MORE]  # schedules are numbers of the host


def possible(family: str, case: str) -> bool:
    return (family, case) not in REFUSED and (case not in MORE or MORE[case].needs <= BACKBONES.get(family).supports)


Part = TypeVar("Part", MGTModel, TextEncoder, Codec)


def on_device(part: Part, pretended: type[PretendedCUDA] = PretendedCUDA) -> Part:
    """The same with its network on the pretended device."""
    with pretended() as watch:
        return replace(part, network=watch.put(copy.deepcopy(part.network)), placement=None)


def tokens_of(pipe: Pipeline, case: str, callback=None) -> torch.Tensor:
    """Of a run of two pictures."""
    if case not in MORE:
        return run(pipe, case, callback=callback)
    own = MORE[case]
    positive, negative = conditions(pipe)
    chosen = {
        "state": blank(pipe),
        "positive": positive,
        "negative": negative,
        "sampler": "maskgit",
        "temperature": (2, 0),
    }
    settings = chosen | own.given(pipe)
    run_of = {"schedule": "cosine", "steps": steps_for(pipe, TIMES), "cfg": 2.0, "seed": 0, "callback": callback}
    return mgt_core.sample(own.attach(pipe.model), **settings, **run_of).tokens


@dataclass(frozen=True)
class Watched:
    """tokens: of the run. watch: what was seen, a part up to the end of every step and one for the end of the run."""

    tokens: torch.Tensor
    watch: PretendedCUDA

    @property
    def kernels(self) -> list[int]:
        """Of every step, the preparations in the first."""
        return [part.kernels.total() for part in self.watch.parts[:-1]]


def watched(pipe: Pipeline, case: str) -> Watched:
    with PretendedCUDA() as watch:
        return Watched(tokens_of(pipe, case, lambda step: watch.mark()), watch)


class Ceilings:
    """What was counted of every case: the kernels of its steps, or the waits."""

    file = Path(__file__).with_name("recorded_device.json")

    def __init__(self):
        self.table: dict[str, list[int]] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def exceeded(self, key: str, counts: list[int], slack: float = SLACK) -> str:
        """In what way there are more than are recorded, "" where there are not; where asked to, they are recorded.

        What is new is recorded when the table is next made."""
        if UPDATE:
            self.table[key] = counts
            lines = (f"{json.dumps(name)}: {json.dumps(held)}" for name, held in sorted(self.table.items()))
            self.file.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        most = [math.floor(count * slack) for count in self.table.get(key, counts)]
        held = len(most) == len(counts) and all(map(int.__le__, counts, most))
        return "" if held else f"{key}: {counts} where {most} are allowed"


CEILINGS = Ceilings()
