"""MAGNeT's tiny network for tests of how it is decoded."""

from functools import cache
from pathlib import Path

import torch
import yaml

from mgt_core import MGTModel
from mgt_core.backbones.magnet.config import TEXT
from mgt_core.backbones.magnet.network import MAGNeT

from .device import DEVICE


@cache
def after_projection(folder: Path) -> MGTModel:
    """Which takes rows of text as they are after its projection."""
    held = torch.load(folder / "state_dict.bin", weights_only=True)
    stored = {name: value.float() for name, value in held["best_state"].items()}
    width = stored[TEXT].shape[0]
    stored |= {TEXT: torch.eye(width), TEXT.replace("weight", "bias"): torch.zeros(width)}
    config = yaml.safe_load(held["xp.cfg"])
    network = MAGNeT(MAGNeT.configure(config, {name: tuple(value.shape) for name, value in stored.items()}))
    parts = {
        own: value if rows is None else value[rows]
        for name, value in stored.items()
        for own, rows in MAGNeT.divided(name, tuple(value.shape)).items()
    }
    network.load_state_dict(parts)
    own = network.published_settings
    return MGTModel(network.eval().to(DEVICE), pixels_per_token=32, sample_rate=1600, defaults=own)
