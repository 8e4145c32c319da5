"""Recorded runs of Muddit and of Di[M]O, of the tree at MGT_GOLDEN: networks alone, with a base that lends the rest."""

from functools import cache
from pathlib import Path

import pytest
import torch

import mgt_core

from .device import DEVICE, HERE
from .golden import OWN, ROOT, settings, tensors

MUDDIT, DIMO = ROOT / "kin" / "muddit", ROOT / "kin" / "dimo"
OWN_MUDDIT = OWN / "kin" / "muddit"


@cache
def muddit(size: str, root: Path = MUDDIT) -> mgt_core.Pipeline:
    return mgt_core.load(root / size, base=root / "base", **HERE)


def sizes() -> list[str]:
    """Folders of the transformers that the tree holds."""
    return sorted(path.parent.parent.name for path in MUDDIT.glob("*/transformer/config.json"))


def muddit_traces(prefix: str) -> list[pytest.param]:
    paths = sorted(path.with_suffix("") for path in (MUDDIT / "traces").glob(f"{prefix}*.json"))
    return [pytest.param(path, id=path.name) for path in paths]


class MudditTrace:
    """A recorded run: its call, and what each step computed."""

    def __init__(self, path: Path):
        self.settings, self.tensors = settings(path), tensors(path)
        self.call = self.settings["call"]
        self.pipe = muddit(self.settings["variant"])
        self.size, self.steps = (self.call["height"], self.call["width"]), self.call["num_inference_steps"]
        temperature = self.call.get("temperature", (2.0, 0.0))
        self.temperature = tuple(temperature) if isinstance(temperature, list) else temperature

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def source(self, generators, cells) -> "MudditTrace":
        return self

    def categorical(self, logits, step):
        """The ids that were drawn, whatever the logits: `races` compares these."""
        return self[f"step{step.index:02d}.drawn"].flatten(1).gather(1, step.positions)

    def gumbel(self, step):
        uniform = self[f"step{step.index:02d}.uniform"].flatten(1).clamp_min(1e-20)
        return -torch.log((-torch.log(uniform)).clamp_min(1e-20))

    def races(self, codes: int, cells: int, batch: int) -> list[torch.Tensor]:
        """[B, N, V] exponential numbers of every step, as the published code drew them from its seed. Skips on a
        machine where torch draws others."""
        generator, drawn = torch.Generator().manual_seed(self.settings["generator_seed"]), []
        for index in range(self.steps):
            drawn.append(torch.empty(batch, cells, codes).exponential_(generator=generator))
            if index == self.steps - 1:
                break
            uniform = torch.rand(batch, cells, generator=generator)
            if not torch.allclose(uniform, self[f"step{index:02d}.uniform"].flatten(1).cpu()):
                pytest.skip("torch draws other exponential numbers on this machine than where this was recorded")
        return [race.to(DEVICE) for race in drawn]
