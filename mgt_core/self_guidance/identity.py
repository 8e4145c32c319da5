"""What a file was made with, and whether that is the same now."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import MGTError

SAMPLED = 64  # values of each weight: other weights differ in some of them, and a model of gigabytes takes no second
# What is told apart by a mark, which says nothing to a person.
NAMED = ("model", "codec", "examples", "set of pictures")
log = logging.getLogger(__name__)


def weights_mark(network: nn.Module) -> str:
    """What tells the weights of a network from others, in whatever floating-point format they were loaded."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        part = value.detach().flatten()
        part = part[:: max(1, len(part) // SAMPLED)][:SAMPLED]
        part = part.to("cpu", torch.bfloat16 if part.is_floating_point() else part.dtype).contiguous()
        digest.update(f"{name} {list(value.shape)}".encode())
        digest.update(part.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def check_same(file: Path, made: Any, now: Mapping[str, Any]) -> None:
    """Raises MGTError naming in what `file`, which was made with `made`, differs from `now`. One that does not say what
    it was made with is taken, with a warning."""
    if not isinstance(made, Mapping):
        log.warning("%s does not say what it was made with; it is taken as it is", file)
        return
    others = [
        f"another {name}" if name in NAMED else f"{name} {made.get(name)!r}, which is now {value!r}"
        for name, value in now.items()
        if made.get(name) != value
    ]
    if others:
        raise MGTError(
            f"{file} was made with {' and '.join(others)}; give the same again, another --out, or remove it to begin "
            "anew"
        )
