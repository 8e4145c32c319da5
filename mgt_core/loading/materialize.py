"""Networks filled from files: built without memory, given it in the type wanted, copied into tensor by tensor."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MGTError, join_some, reason
from ..quantization.marks import MARK, check_types, marked_layers, with_marked_layers
from .weights import Stored, read_tensors


def materialize(
    build: Callable[[], nn.Module],
    stored: Mapping[str, Stored],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Build a network without memory, give it memory of the type wanted, and copy each stored tensor there.

    Raises MGTError naming the first missing, unexpected or mis-shaped keys.
    """
    try:
        with torch.device("meta"):
            network = build()
    except MGTError:
        raise
    except Exception as error:
        raise MGTError(
            f"{folder / 'config.json'} does not describe a network that can be built ({reason(error)})"
        ) from error
    network = nn.Module.to(network, dtype)  # not the method of diffusers, which warns
    if marked := marked_layers(stored):
        network = with_marked_layers(network, marked, folder)
        stored = {name: entry for name, entry in stored.items() if not name.endswith(MARK)}
    wanted = network.state_dict()
    optional = {name for name in stored if name.endswith("position_ids")}  # older transformers saved this constant
    compare_keys(
        folder, {n: tuple(v.shape) for n, v in wanted.items()}, {n: e for n, e in stored.items() if n not in optional}
    )
    network = network.to_empty(device=device).eval().requires_grad_(False)
    places = network.state_dict()
    for name, tensor in read_tensors(stored, wanted):
        check_types(stored[name].file, name, tensor, places[name])
        places[name].copy_(tensor)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                setattr(module, name, rebuilt_buffer(name, buffer, device))
    return network


def rebuilt_buffer(name: str, buffer: Tensor, device: torch.device) -> Tensor:
    # The only buffer of the supported networks that no checkpoint holds: CLIP's positions.
    if name != "position_ids":
        raise MGTError(f"buffer {name} is in no checkpoint and has no known value")
    return torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)


def compare_keys(folder: Path, wanted: Mapping[str, tuple], stored: Mapping[str, Stored]) -> None:
    missing = sorted(wanted.keys() - stored.keys())
    extra = sorted(stored.keys() - wanted.keys())
    if missing:
        raise MGTError(f"the weights in {folder} lack {len(missing)} of {len(wanted)} tensors: {join_some(missing)}")
    if extra:
        raise MGTError(
            f"the weights in {folder} hold {len(extra)} tensors that its config has no place for: {join_some(extra)}"
        )
    wrong = [
        f"{n} is {list(stored[n].shape)}, expected {list(wanted[n])}"
        for n in sorted(wanted)
        if stored[n].shape != wanted[n]
    ]
    if wrong:
        raise MGTError(f"the weights in {folder} do not have the shapes its config gives: {join_some(wrong, 2)}")
