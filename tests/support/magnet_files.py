"""MAGNeT's published files as tests change them, and a short sound of theirs."""

from collections.abc import Callable
from pathlib import Path

import torch
import yaml

import mgt_core

WEIGHTS, CODEC = "state_dict.bin", "compression_state_dict.bin"


def edit(file: Path, change: Callable[[dict, dict], object]) -> Path:
    """What `change` makes of the dictionary of a file, and of its parsed config."""
    held = torch.load(file, weights_only=True)
    config = yaml.safe_load(held["xp.cfg"])
    change(held, config)
    torch.save({**held, "xp.cfg": yaml.safe_dump(config)}, file)
    return file


def made(pipe: mgt_core.Pipeline, prompt: str = "rain") -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of a short sound, and the sound."""
    state = mgt_core.empty_state(1, (4, 12), pipe.model.mask_id, pipe.model.codebook_size)
    conditions = pipe.text.encode(prompt), pipe.text.encode("")
    tokens = mgt_core.sample(pipe.model, state, *conditions, seed=3, steps=10).tokens
    return tokens, pipe.codec.decode(tokens)


def same(ours: mgt_core.Pipeline, wanted: mgt_core.Pipeline) -> bool:
    return all(torch.equal(*both) for both in zip(made(ours), made(wanted)))


def named(name: object) -> Callable[[dict, dict], object]:
    """The text encoder's."""
    return lambda held, config: config["conditioners"]["description"]["t5"].update(name=name)
