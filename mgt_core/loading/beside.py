"""Single tensors that are published beside a network's folder, each in a file of its own."""

from pathlib import Path

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..errors import MGTError
from ..placement import compute_dtype
from .disk import is_file
from .mistaken import told_apart
from .weights import pickle_header


def with_tensors_beside(network: Backbone, folder: Path) -> Backbone:
    """The network with those tensors of `Backbone.beside` that lie in `folder`, as buffers that its own files do not
    hold. What is not there stays None."""
    device, dtype = next(network.parameters()).device, compute_dtype(network)
    for name, file in network.beside.items():
        if is_file(folder / file):
            network.register_buffer(name, read_vector(folder / file).to(device, dtype), persistent=False)
    return network


def read_vector(file: Path) -> Tensor:
    """A tensor [C] of finite numbers that torch.save wrote. Raises MGTError saying what the file is instead."""
    with told_apart(file):
        pickle_header(file)  # raises for objects of any other kind, before torch opens it
        try:
            held = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:
            raise MGTError(f"{file} is not a readable file of one tensor") from None
    if not isinstance(held, Tensor) or held.ndim != 1 or not held.is_floating_point():
        told = f"a tensor of shape {list(held.shape)}" if isinstance(held, Tensor) else type(held).__name__
        raise MGTError(f"{file} holds {told}; expected the one vector of numbers that is published under this name")
    if not bool(held.isfinite().all()):
        raise MGTError(f"{file} holds values that are not finite numbers")
    return held.detach()
