"""Lumina-DiMOO's golden tree: sequences of ids as grids of tokens, and the draws of its traces."""

from functools import cached_property
from pathlib import Path

import torch

import mgt_core
from mgt_core.sampling.run import Plan

from .golden import OWN, ROOT, pipeline, settings, tensors

FOLDER = ROOT / "unified" / "dimoo"
TINY = OWN / "unified" / "dimoo"  # a tiny model, whatever MGT_GOLDEN says


def cells_from(start: int, grid: tuple[int, int]) -> list[int]:
    """Places in a sequence of the cells of a picture whose first one lies at `start`; a row end follows every row."""
    height, width = grid
    return [start + row * (width + 1) + column for row in range(height) for column in range(width)]


def seen_through(network, ids: torch.Tensor) -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """Of a sequence of ids [n]: its prompt [P], the places of its cells, and its grid [1, h, w] of tokens."""
    marks = network.config.marks
    opened = int((ids == marks["picture"]).nonzero()[-1])
    width = int((ids[opened + 1 :] == marks["row_end"]).nonzero()[0])
    height = (len(ids) - opened - 3) // (width + 1)
    places = cells_from(opened + 1, (height, width))
    return ids[: opened - 1], places, tokens_of(network, ids[places]).view(1, height, width)


def tokens_of(network, ids: torch.Tensor) -> torch.Tensor:
    """Codes, and the mask, of ids of the joint vocabulary."""
    return torch.where(ids == network.mask_word, network.mask_id, ids - network.code_offset)


def gumbel(uniform: torch.Tensor) -> torch.Tensor:
    """As the published code makes it of uniform numbers, in their type."""
    return -torch.log(-torch.log(uniform + 1e-20) + 1e-20)


class Trace:
    """One recorded run: its settings and what each step held. A picture is evaluated alone."""

    def __init__(self, name: str):
        path = FOLDER / "traces" / name
        self.told, self.tensors = settings(path), tensors(path)
        self.pipe = pipeline(FOLDER)
        self.grid = self.told["grid_h"], self.told["grid_w"]
        self.steps, self.cfg = self.told["timesteps"], 1 + self.told["cfg_scale"]
        self.places = cells_from(self.told["code_start"], self.grid)

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def at(self, index: int, key: str) -> torch.Tensor | None:
        return self.tensors.get(f"step{index:02d}.{key}")

    def tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """[1, h, w] of the ids of a whole sequence."""
        return tokens_of(self.pipe.model.network, ids[self.places]).view(1, *self.grid)

    @cached_property
    def state(self) -> mgt_core.TokenState:
        model, tokens = self.pipe.model, self.tokens(self["initial_ids"])
        return mgt_core.TokenState(tokens, tokens != model.mask_id, model.mask_id, model.codebook_size)

    @property
    def conditions(self) -> dict[str, mgt_core.Condition]:
        names = {"positive": "cond_prompt_ids", "negative": "uncond_prompt_ids"}
        return {role: mgt_core.Condition(prompt=self[key][None]) for role, key in names.items()}

    def sampler(self) -> mgt_core.MaskGIT:
        """Theirs: one temperature that does not change, in the draw as in the confidence."""
        temperature = self.told["temperature"]
        return mgt_core.MaskGIT((temperature, temperature), draw_temperature="same", draws=Recorded(self).source)


def plan_of(trace: Trace, sampler: mgt_core.MaskGIT) -> Plan:
    """A run of `sampler` as the trace was made, to be taken step by step."""
    return Plan(
        mgt_core.SCHEDULES.get("cosine")(),
        trace.steps,
        trace.cfg,
        [0],
        sampler.temperatures(trace.steps),
        sampler.draws,
        draw_temperatures=sampler.draw_temperatures(trace.steps),
    )


class Recorded:
    """Draws of a trace. A run of ours has the steps that it was asked for, where theirs ends with its last masked cell:
    what ours draws again then, it draws from the same numbers."""

    def __init__(self, trace: Trace):
        self.trace = trace

    def source(self, generators, cells):
        return self

    def recorded(self, step, key: str) -> torch.Tensor:
        return self.trace.at(min(step.index, self.trace.told["steps_run"] - 1), key)

    def categorical(self, logits, step):
        return (logits + gumbel(self.recorded(step, "u_sample"))).argmax(-1)

    def gumbel(self, step):
        noise = torch.zeros(1, step.cells, device=step.tokens.device)
        return noise.scatter(1, step.positions, gumbel(self.recorded(step, "u_mask"))[None])


def trace_names(prefix: str = "") -> list[str]:
    return sorted(path.stem for path in Path(FOLDER / "traces").glob(f"{prefix}*.json"))
