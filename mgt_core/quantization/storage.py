"""Quantized weights in files: the marks that say which layers are packed, and whole bundles written anew.

Each packed layer is described by a `comfy_quant` tensor beside its weight, as ComfyUI's own files have it,
and by `_quantization_metadata` in the header; the scheme as a whole stands there under `mgt_quantization`.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import MGTError, join_some, reason
from .formats import config_tensor, empty_from_config
from .layers import packed_layers
from .schemes import SCHEMES, Scheme
from .surgery import replaced

if TYPE_CHECKING:
    from ..loading.bundle import Pipeline, Stored

MARK = ".comfy_quant"
KEY = "mgt_quantization"
VERSION = 1
LONGEST_MARK = 4096  # bytes
SUFFIX = ".safetensors"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def marked_layers(stored: Mapping[str, "Stored"]) -> dict[str, dict]:
    """Config of every packed layer of a file, by the layer's name. Raises MGTError for marks that are no JSON."""
    from safetensors import SafetensorError, safe_open

    found = {}
    for name, entry in stored.items():
        if not name.endswith(MARK) or entry.file.suffix != SUFFIX:
            continue
        try:
            with safe_open(entry.file, "pt") as file:
                mark = file.get_tensor(entry.name)
            if mark.dtype != torch.uint8 or mark.numel() > LONGEST_MARK:
                raise ValueError(f"it is {mark.dtype} of {mark.numel()} values")
            found[name.removesuffix(MARK)] = json.loads(bytes(mark.flatten().tolist()))
        except (ValueError, SafetensorError) as error:
            raise MGTError(f"{entry.file} has {name}, which is no JSON text ({reason(error)})") from None
    return found


def with_marked_layers(network: nn.Module, marked: Mapping[str, dict], folder: Path) -> nn.Module:
    """`network`, on the meta device, with the layers that a file holds packed. Raises MGTError where the
    network has no such layer or the config is none that this pack reads."""
    layers = dict(network.named_modules())
    missing = [name for name in marked if name not in layers]
    if missing:
        raise MGTError(
            f"the weights in {folder} mark {len(missing)} layers as quantized that its config has no place for: "
            f"{join_some(missing)}"
        )
    packed = {name: empty_from_config(layers[name], values, f"{folder}: {name}") for name, values in marked.items()}
    return replaced(network, packed)


def check_types(file: Path, name: str, stored: Tensor, wanted: Tensor) -> None:
    """Raises MGTError when what is stored cannot stand for packed values of another type."""
    exact = wanted.dtype in (torch.int8, torch.float8_e4m3fn)
    if exact and stored.dtype != wanted.dtype:
        raise MGTError(f"{file} holds {name} as {stored.dtype}; its mark says {wanted.dtype}")


def read_scheme(stored: Mapping[str, "Stored"], network: nn.Module) -> Scheme | None:
    """The scheme named in the header, None where the weights are not quantized by this pack.

    Raises MGTError for a header that cannot be read or that contradicts the layers.
    """
    from safetensors import safe_open

    packed = packed_layers(network)
    for file in sorted({entry.file for entry in stored.values() if entry.file.suffix == SUFFIX}):
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
        if text is None:
            continue
        try:
            values = json.loads(text)
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
        return kind(**{key: tuple(value) if key == "keep" else value for key, value in settings.items()})
    return None


def header(network: nn.Module, scheme: Scheme | None) -> dict[str, str]:
    """Metadata of the file that holds `network`."""
    packed = packed_layers(network)
    layers = {name: layer.config() for name, layer in packed.items()}
    values = {"format": "pt"}
    if layers:
        values["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": layers})
    if scheme is not None:
        values[KEY] = json.dumps(
            {"version": VERSION, "scheme": SCHEMES.name_of(type(scheme)), "settings": asdict(scheme)}
        )
    return values


def save_weights(network: nn.Module, file: Path, scheme: Scheme | None = None) -> None:
    """Weights and marks of `network` as one safetensors file."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    tensors |= {name + MARK: config_tensor(layer) for name, layer in packed_layers(network).items()}
    seen: set[int] = set()
    for name, value in tensors.items():  # safetensors refuses tensors that share memory
        if value.untyped_storage().data_ptr() in seen:
            tensors[name] = value.clone()
        seen.add(value.untyped_storage().data_ptr())
    save_file(tensors, file, metadata=header(network, scheme))
    file.chmod(0o644)


def save_bundle(pipe: "Pipeline", folder: str | Path, overwrite: bool = False) -> Path:
    """Write `pipe` as a bundle in Hugging Face layout that `load` reads back, quantized as it is.

    It appears under its name only when it is complete. Raises MGTError when something is there already
    (unless it is a bundle and `overwrite` is set), and when it cannot be written.
    """
    folder = Path(folder)
    if pipe.model.loras:
        raise MGTError(f"the model holds the LoRA {pipe.model.loras[0].name}; save it without and attach it again")
    check_target(folder, overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            part = Path(place) / "new"
            write_parts(pipe, part)
            if folder.exists():
                os.replace(folder, Path(place) / "old")
            os.replace(part, folder)
    except OSError as error:
        raise MGTError(f"{folder} cannot be written ({reason(error)})") from error
    return folder


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises MGTError where `save_bundle` must not write."""
    if folder.exists() and not overwrite:
        raise MGTError(f"{folder} exists already; choose another name, or allow overwriting")
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise MGTError(f"{folder} exists and is no bundle (it has no model_index.json); it is not overwritten")


def write_parts(pipe: "Pipeline", folder: Path) -> None:
    model = pipe.model
    index = {"_class_name": "Pipeline", "sample_size": pipe.size[0]}
    for name in ("transformer", "vqvae", "scheduler"):
        (folder / name).mkdir(parents=True)
    write_json(folder / "transformer" / "config.json", config_values(model.network.config))
    save_weights(model.network, folder / "transformer" / WEIGHTS, model.quantization)
    if hasattr(pipe.codec.network, "to_json_string"):
        write_json(folder / "vqvae" / "config.json", json.loads(pipe.codec.network.to_json_string()))
    elif pipe.codec.needs_config:
        raise MGTError(f"a codec of type {type(pipe.codec).__name__} cannot be saved: its config is not kept")
    save_weights(pipe.codec.network, folder / "vqvae" / WEIGHTS)
    write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "Scheduler",
            "mask_token_id": model.mask_id,
            "timestep_rule": model.timestep_rule,
            "defaults": dict(model.defaults),
        },
    )
    if pipe.text is not None:
        (folder / "text_encoder").mkdir()
        write_json(folder / "text_encoder" / "config.json", json.loads(pipe.text.network.config.to_json_string()))
        save_weights(pipe.text.network, folder / "text_encoder" / "model.safetensors")
        save_tokenizer(pipe.text.tokenizer, folder / "tokenizer")
    write_json(folder / "model_index.json", index)


def config_values(config: object) -> dict:
    """A network's config as a file has it."""
    values = asdict(config) if is_dataclass(config) else dict(config)
    return {"_class_name": "Transformer2DModel", **values}


def save_tokenizer(tokenizer, folder: Path) -> None:
    """The files it was read from, where they still are; else what it writes itself."""
    source = Path(tokenizer.name_or_path)
    if (source / "vocab.json").is_file():
        shutil.copytree(source, folder)
    else:
        tokenizer.save_pretrained(folder)


def write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
