"""Where a network computes. The library asks before every use; a host that manages memory answers."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn


class Placement(Protocol):
    def acquire(self, memory: int = 0) -> torch.device:
        """Make the weights usable now and return the device to compute on.

        memory: bytes that the computation needs beside the weights, an estimate.
        """
        ...


@dataclass(frozen=True)
class Resident:
    """The network stays where it was loaded."""

    module: nn.Module

    def acquire(self, memory: int = 0) -> torch.device:
        return next(self.module.parameters()).device
