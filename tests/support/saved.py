"""Tiny bundles that differ in one weight, and what lies in a folder: for tests of what saving keeps."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch

import mgt_core

from .golden import bundles

WEIGHTS = "diffusion_pytorch_model.safetensors"


def variant(number: int) -> mgt_core.Pipeline:
    """The first tiny bundle, told from others by its number."""
    pipe = mgt_core.load(bundles()[0], device="cpu")
    weight = next(iter(pipe.model.network.parameters()))
    weight.data = torch.full_like(weight, float(number))
    return replace(pipe, name=f"variant {number}")


def number_of(folder: Path) -> int:
    """Of the variant that was saved there, which is loaded whole."""
    return int(next(iter(mgt_core.load(folder, device="cpu").model.network.parameters())).flatten()[0])


def tree(folder: Path) -> dict[str, str]:
    """What lies in a folder, however deep: every name, and of files a hash of what they hold."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(content(path)).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def content(file: Path) -> bytes:
    """Of safetensors with the header in order, which is written in any."""
    held = file.read_bytes()
    if file.suffix != ".safetensors":
        return held
    size = 8 + int.from_bytes(held[:8], "little")
    return json.dumps(json.loads(held[8:size]), sort_keys=True).encode() + held[size:]
