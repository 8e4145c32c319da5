"""Which layers of a file are packed, as the file says it.

Each packed layer is described by a `comfy_quant` tensor beside its weight, as ComfyUI's own files have it,
and by `_quantization_metadata` in the header; the scheme as a whole stands there under `mgt_quantization`.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import MGTError, join_some, reason
from ..kernels.fused_linear import beside, layers_apart
from ..loading.disk import parse_json
from ..loading.stored import Stored
from .embedding import packed_modules
from .formats import empty_from_config
from .layers import packed_layers
from .schemes import SCHEMES, Scheme
from .surgery import replaced

MARK = ".comfy_quant"
KEY = "mgt_quantization"
VERSION = 1
LONGEST_MARK = 4096  # bytes
SUFFIX = ".safetensors"


def is_packed(stored: Collection[str]) -> bool:
    """Whether a file with tensors of these names holds packed layers."""
    return any(name.endswith(MARK) for name in stored)


def marked_layers(stored: Mapping[str, Stored]) -> dict[str, dict]:
    """Config of every packed layer of a file, by the layer's name. Raises MGTError for marks that are no JSON."""
    from safetensors import SafetensorError, safe_open

    found = {}
    opened = cache(lambda file: safe_open(file, "pt"))  # once, though every layer has a mark
    for name, entry in stored.items():
        if not name.endswith(MARK) or entry.file.suffix != SUFFIX:
            continue
        try:
            mark = opened(entry.file).get_tensor(entry.name)
            if mark.dtype != torch.uint8 or mark.numel() > LONGEST_MARK:
                raise ValueError(f"it is {mark.dtype} of {mark.numel()} values")
            found[name.removesuffix(MARK)] = parse_json(bytes(mark.flatten().tolist()))
        except (ValueError, SafetensorError) as error:
            raise MGTError(f"{entry.file} has {name}, which is no JSON text ({reason(error)})") from None
    return found


def with_marked_layers(network: nn.Module, marked: Mapping[str, dict], folder: Path) -> nn.Module:
    """`network`, on the meta device, with the layers that a file holds packed. Raises MGTError where the
    network has no such layer or the config is none that this pack reads."""
    layers = layers_apart(network) | dict(network.named_modules())
    missing = [name for name in marked if name not in layers]
    if missing:
        raise MGTError(
            f"the weights in {folder} mark {len(missing)} layers as quantized that its config has no place for: "
            f"{join_some(missing)}"
        )
    for path, module in network.named_modules():
        inner = [name for name in getattr(module, "names", ()) if beside(path, name) in marked]
        if path in marked and inner:
            raise MGTError(f"the weights in {folder} mark {path} as quantized whole and its {inner[0]} by itself")
    packed = {name: empty_from_config(layers[name], values, f"{folder}: {name}") for name, values in marked.items()}
    return replaced(network, packed)


def check_types(file: Path, name: str, stored: Tensor, wanted: Tensor) -> None:
    """Raises MGTError when what is stored cannot stand for packed values of another type."""
    exact = wanted.dtype in (torch.int8, torch.float8_e4m3fn)
    if exact and stored.dtype != wanted.dtype:
        raise MGTError(f"{file} holds {name} as {stored.dtype}; its mark says {wanted.dtype}")


def read_scheme(stored: Mapping[str, Stored], network: nn.Module) -> Scheme | None:
    """The scheme named in the header, None where the weights are not quantized by this pack.

    Raises MGTError for a header that cannot be read or that contradicts the layers.
    """
    packed = packed_layers(network)
    headers = {entry.file: entry.metadata for entry in stored.values()}
    for file in sorted(headers):
        text = headers[file].get(KEY)
        if text is None:
            continue
        try:
            values = parse_json(text.encode())
            version, name, settings = values["version"], values["scheme"], dict(values["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise MGTError(f"{file} has a header entry {KEY} that cannot be read ({reason(error)})") from None
        if version != VERSION:
            raise MGTError(f"{file} was quantized by version {version!r} of this format; this pack reads {VERSION}")
        kind = SCHEMES.get(name)
        unknown = settings.keys() - {f.name for f in fields(kind)}
        if unknown:
            raise MGTError(f"{file} has settings of {name} that this pack does not know: {join_some(sorted(unknown))}")
        formats = {layer.name for layer in packed.values()}
        if formats != {kind.format}:
            held = " and ".join(sorted(formats)) or "float weights"
            raise MGTError(f"{file} says it is quantized as {name} ({kind.format}) and holds {held}: it is mislabelled")
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
    return None


def header(network: nn.Module, scheme: Scheme | None) -> dict[str, str]:
    """Metadata of the file that holds `network`."""
    layers = {name: layer.config() for name, layer in packed_modules(network).items()}
    values = {"format": "pt"}
    if layers:
        values["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": layers})
    if scheme is not None:
        values[KEY] = json.dumps(
            {"version": VERSION, "scheme": SCHEMES.name_of(type(scheme)), "settings": asdict(scheme)}
        )
    return values
