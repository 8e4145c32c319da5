"""Files that a training leaves: checkpoints, JSON, and weights in the published (Hugging Face) layout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mgt_core.files import replace_file, written_whole


def save_whole(path: Path, **state: object) -> None:
    """Whole file or none: a run may be killed at any time."""
    with written_whole(path) as partial, partial.open("wb") as stream:
        torch.save(state, stream)


def write_json(path: Path, value: dict) -> None:
    """Whole file or none; makes the folder too."""
    replace_file(path, (json.dumps(value, indent=2) + "\n").encode())


def save_sharded(tensors: Iterable[tuple[str, Tensor]], folder: Path, stem: str, limit: int) -> None:
    """Write STEM-00001-of-0000N.safetensors and so on, of up to `limit` bytes each, and their index.

    Tensors are taken one by one, by name; those of one file are held at once.
    """
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total = 0

    def part(number: int) -> Path:
        return folder / f"{stem}-{number:05d}.partial"

    def close() -> None:
        shards.append(list(held))
        save_file(held, part(len(shards)), {"format": "pt"})
        held.clear()

    for name, tensor in tensors:
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > limit:
            close()
        held[name] = tensor.contiguous()
        total += tensor.nbytes
    close()
    where: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        part(number).replace(folder / file)
        where |= dict.fromkeys(names, file)
    write_json(folder / f"{stem}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
