"""Tokens of every technique and preset as they were recorded, to hold changes that are to change none.

`MGT_UPDATE_TOKENS=1 ./mgt test tests/test_recorded_tokens.py` records them anew, after a change that is meant to; on a
CPU alone, whose tokens they are.
"""

import hashlib
import json
import os
from pathlib import Path

import torch

from .device import ON_CPU

FILE = Path(__file__).with_suffix(".json")
UPDATE = ON_CPU and bool(os.environ.get("MGT_UPDATE_TOKENS"))


def digest(*tensors: torch.Tensor) -> str:
    """A short hash of whole numbers."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.to(torch.int32).contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


class Recorded:
    """The table: "family: technique" -> hash of the tokens."""

    def __init__(self):
        self.table = json.loads(FILE.read_text())

    def agrees(self, key: str, *tensors: torch.Tensor) -> bool:
        """Whether these are the tokens that are recorded; where asked to, they are recorded first."""
        if UPDATE:
            self.table[key] = digest(*tensors)
            FILE.write_text(json.dumps(self.table, indent=1) + "\n")
        return self.table[key] == digest(*tensors)
