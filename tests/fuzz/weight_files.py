"""Broken files of weights and settings, read by themselves: what their headers say is what is loaded, or a refusal."""

import json
import random
from pathlib import Path

from mgt_core import MGTError
from mgt_core.loading.disk import read_json
from mgt_core.loading.part import read_part
from mgt_core.loading.weights import index_weights, open_weights
from support.odd_files import odd_json, odd_weights
from support.trials import refused

SHORT = 300
OUTCOMES = ("read", "refused")


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    name = draws.choice(["a.safetensors", "a.bin", "a.pth", "a.pt", "a.ckpt", "config.json"])
    if name.endswith(".json"):
        (folder / name).write_bytes(odd_json(draws))
        return json_at(folder / name)
    file = folder / name
    file.write_bytes(odd_weights(draws, name))
    problem = read_part(file).problem
    assert problem is None or refused(problem)
    try:
        told = index_weights(file)
        take = open_weights(file)
    except MGTError as error:
        return refused(error)
    for entry in told.values():
        value = take(entry.name)
        assert tuple(value.shape) == entry.shape and value.numel() * value.element_size() == entry.size
    return "read"


def json_at(file: Path) -> str:
    try:
        json.dumps(read_json(file))
    except MGTError as error:
        return refused(error)
    return "read"
