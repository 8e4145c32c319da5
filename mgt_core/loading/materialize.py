"""Networks filled from files: built without memory, given it in the type wanted, copied into tensor by tensor."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MGTError, join_some
from ..pulse import beat
from ..quantization.arriving import Packing
from ..quantization.marks import MARK, check_types, marked_layers, with_marked_layers
from .building import as_many_as, told_of
from .disk import is_file
from .finite import numbers_fit
from .part import config_file
from .stored import Stored
from .weights import read_pieces


def materialize(
    build: Callable[[], nn.Module],
    stored: Mapping[str, Stored],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    packing: Packing | None = None,
    constants: Mapping[str, Tensor] = {},
) -> Any:
    """Build a network without memory, give it memory of the type wanted, and copy each stored tensor there.

    packing: of its layers, each as soon as it has been read, unless the file holds packed ones. constants: what its
    buffers hold that are in no checkpoint, by their own names.
    Raises MGTError naming the first missing, unexpected or mis-shaped keys, numbers that are not finite, and a config
    of many more layers than there are tensors, before these are built.
    """
    with told_of(folder):
        with told_of(described_in(folder)), as_many_as(len(stored)), torch.device("meta"):
            network = build()
        network = nn.Module.to(network, dtype)  # not the method of diffusers, which warns
        if marked := marked_layers(stored):
            network = with_marked_layers(network, marked, folder)
            stored = {name: entry for name, entry in stored.items() if not name.endswith(MARK)}
    with told_of(folder, "cannot be read"):
        return filled(network, stored, folder, device, None if marked else packing, constants)


def filled(
    network: nn.Module,
    stored: Mapping[str, Stored],
    folder: Path,
    device: torch.device,
    packing: Packing | None,
    constants: Mapping[str, Tensor],
) -> nn.Module:
    wanted = network.state_dict()
    taken = longer(network, wanted, stored)
    optional = {name for name in stored if name.endswith("position_ids")}  # older transformers saved this constant
    shapes = {name: stored[name].shape if name in taken else tuple(value.shape) for name, value in wanted.items()}
    compare_keys(folder, shapes, {n: e for n, e in stored.items() if n not in optional})
    arriving = packing.begin(network, device) if packing else None
    network = with_memory(arriving.network if arriving else network, folder, device).eval().requires_grad_(False)
    places = network.state_dict()
    for name, start, rows in read_pieces(stored, wanted, taken, arriving.together if arriving else {}):
        beat()
        dtype = wanted[name].dtype
        check_types(stored[name].file, name, rows, wanted[name])
        if not numbers_fit(rows, dtype):
            raise MGTError(f"{stored[name].file} holds numbers in {name} that are not finite as {dtype}")
        if not (arriving and arriving.take(name, start, rows, places)):
            place = places[name]
            (place[start : start + len(rows)] if rows.ndim else place).copy_(rows)
    network = arriving.finished(network) if arriving else network
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                setattr(module, name, rebuilt_buffer(name, buffer, device, constants))
    return network


def longer(network: nn.Module, wanted: Mapping[str, Tensor], stored: Mapping[str, Stored]) -> Mapping[str, slice]:
    """Rows to take of stored tensors that have more than the network wants (`Backbone.rows_taken`)."""
    rows = getattr(network, "rows_taken", {})
    return {
        name: part
        for name, part in rows.items()
        if name in wanted and name in stored and stored[name].shape[:1] >= (part.stop,)
    }


def described_in(path: Path) -> Path:
    """The file that says how the network of a folder or weight file is built: its config, else itself."""
    file = config_file(path)
    return file if is_file(file) else path


def rebuilt_buffer(name: str, buffer: Tensor, device: torch.device, constants: Mapping[str, Tensor]) -> Tensor:
    if name in constants:
        return constants[name].to(device)
    # The only other buffer of the supported networks that no checkpoint holds: CLIP's positions.
    if name != "position_ids":
        raise MGTError(f"buffer {name} is in no checkpoint and has no known value")
    return torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)


def with_memory(network: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    """Raises MGTError where a CPU has not that much; what a GPU says of it is for the host to act on."""
    try:
        return network.to_empty(device=device)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) or device.type != "cpu":
            raise
        size = sum(value.nbytes for value in network.state_dict().values())
        raise MGTError(f"the weights in {folder} take {size / 1e9:.1f} GB of memory, which there are not") from None


def compare_keys(folder: Path, wanted: Mapping[str, tuple], stored: Mapping[str, Stored]) -> None:
    missing = sorted(wanted.keys() - stored.keys())
    extra = sorted(stored.keys() - wanted.keys())
    if missing:
        raise MGTError(f"the weights in {folder} lack {len(missing)} of {len(wanted)} tensors: {join_some(missing)}")
    if extra:
        raise MGTError(
            f"the weights in {folder} hold {len(extra)} tensors that its config has no place for: {join_some(extra)}"
        )
    if empty := [name for name in sorted(wanted) if 0 in wanted[name]]:
        raise MGTError(f"the weights in {folder} hold {len(empty)} tensors without any numbers: {join_some(empty)}")
    wrong = [
        f"{n} is {list(stored[n].shape)}, expected {list(wanted[n])}"
        for n in sorted(wanted)
        if stored[n].shape != wanted[n]
    ]
    if wrong:
        raise MGTError(f"the weights in {folder} do not have the shapes its config gives: {join_some(wrong, 2)}")
