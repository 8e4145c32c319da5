"""Whole bundles written anew, quantized as they are (see marks.py for what the files say of it)."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, is_dataclass
from pathlib import Path

from torch import nn

from ..errors import MGTError, reason
from ..loading.official import MARK as CHECKPOINT
from ..loading.pipeline import Pipeline
from .formats import config_tensor
from .layers import packed_layers
from .marks import MARK, header
from .schemes import Scheme

WEIGHTS = "diffusion_pytorch_model.safetensors"


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


def save_bundle(pipe: Pipeline, folder: str | Path, overwrite: bool = False) -> Path:
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


def write_parts(pipe: Pipeline, folder: Path) -> None:
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
        config = json.loads(pipe.text.network.config.to_json_string())
        known = {CHECKPOINT: pipe.text.checkpoint} if pipe.text.checkpoint else {}
        write_json(folder / "text_encoder" / "config.json", config | known)
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
