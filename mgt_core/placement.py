"""Where a network computes, asked before every use (a host that manages memory answers), and in what type."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor, nn

from .errors import MGTError
from .room import Room, room_on

FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Placement(Protocol):
    def acquire(self, memory: int = 0) -> torch.device:
        """Make the weights usable now and return the device to compute on.

        memory: bytes that the computation needs beside the weights, an estimate.
        """
        ...

    def room(self) -> Room:
        """Memory of the device to compute on."""
        ...

    def joined(self, network: nn.Module, added: nn.Module) -> "Placement":
        """Where `network` computes, which shares the weights placed here and holds those of `added` beside them."""
        ...


@dataclass(frozen=True)
class Resident:
    """The network stays where it was loaded."""

    module: nn.Module

    def acquire(self, memory: int = 0) -> torch.device:
        return next(self.module.parameters()).device

    def room(self) -> Room:
        return room_on(self.acquire())

    def joined(self, network: nn.Module, added: nn.Module) -> "Resident":
        return replace(self, module=network)


def acquired_together(placements: Sequence[Placement], memory: int = 0) -> torch.device:
    """Several networks made usable at once; the device, which is that of all. A host that moves networks (its
    placements have a `beside`) is asked for all of them in one, so that none makes room by pushing another off.

    memory: bytes that the computation needs beside their weights. Raises MGTError where they lie on different devices.
    """
    first, *others = placements
    if hasattr(first, "beside") and all(isinstance(other, type(first)) for other in others):
        return reduce(lambda own, other: own.beside(other), others, first).acquire(memory)
    device, *elsewhere = [first.acquire(memory), *(other.acquire() for other in others)]
    if away := [other for other in elsewhere if other != device]:
        raise MGTError(f"one model lies on {device} and another on {away[0]}; load both on the same device")
    return device


def room_of(placement: Placement | None, network: nn.Module) -> Room:
    """Of where `network` computes; nothing is known of placements that do not say."""
    tell = getattr(placement or Resident(network), "room", None)
    return tell() if tell else Room(next(network.parameters()).device)


@dataclass(frozen=True)
class Together:
    """Several networks that one evaluation takes. Each may lie on a device of its own; the first one's is that of the
    evaluation. Nothing is joined to it: LoRAs are with the networks already."""

    placements: tuple[Placement, ...]

    def acquire(self, memory: int = 0) -> torch.device:
        first, *others = self.placements
        for other in others:
            if hasattr(first, "beside") and isinstance(other, type(first)):
                first = first.beside(other)
            else:
                other.acquire()
        return first.acquire(memory)

    def room(self) -> Room:
        return self.placements[0].room()


def compute_dtype(network: nn.Module) -> torch.dtype:
    """The floating-point type a network computes in: that of its first parameter that is not packed."""
    modules = (module for module in network.modules() if not getattr(module, "packed", False))
    return next(p.dtype for module in modules for p in module.parameters(recurse=False) if p.is_floating_point())


def sent(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`, from the CPU without the wait for its queue that a plain copy to a GPU means."""
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class OnDemand:
    """The network rests elsewhere and comes to `device` when it is used, until `release` sends it back:
    for a text encoder or codec that is to leave the GPU after its work, where no host sees to it."""

    module: nn.Module
    device: torch.device
    rest: torch.device = torch.device("cpu")

    def acquire(self, memory: int = 0) -> torch.device:
        self.module.to(self.device)
        return self.device

    def room(self) -> Room:
        return room_on(self.device)

    def joined(self, network: nn.Module, added: nn.Module) -> "OnDemand":
        return replace(self, module=network)

    def release(self) -> None:
        self.module.to(self.rest)


def pick_device(device: torch.device | str | None) -> torch.device:
    """Raises MGTError for a device that torch does not know or that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.zeros(1, device=picked).item()  # "meta" has no values to sample from
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise MGTError(f"device is {str(device)!r}, which this machine does not offer; try 'cpu'") from None
    return picked


def pick_dtype(dtype: torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in FLOAT_DTYPES:
        raise MGTError(f"dtype is {dtype!r}; accepted are {', '.join(map(str, FLOAT_DTYPES))}")
    return dtype
