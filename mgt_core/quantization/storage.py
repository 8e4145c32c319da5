"""Whole bundles written anew, quantized as they are (see marks.py for what the files say of it)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ..backbones.base import Backbone
from ..errors import MGTError, join_some, path_named
from ..files import alone, writing
from ..folders import settle, sweep_folders, written_folder
from ..loading.official import MARK as CHECKPOINT
from ..loading.pipeline import Pipeline
from ..loading.words import FILES, vocabulary_in
from ..registry import BACKBONES
from .calibration import Calibration
from .embedding import packed_modules
from .formats import config_tensor
from .marks import MARK, header
from .pipeline import calibration_file
from .schemes import Scheme

WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = ("model_index.json", "transformer", "vqvae", "scheduler", "text_encoder", "tokenizer", "llm_encoder")

Writer = Callable[..., Path]


def save_weights(network: nn.Module, file: Path, scheme: Scheme | None = None) -> None:
    """Weights and marks of `network` as one safetensors file."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    tensors |= {name + MARK: config_tensor(layer) for name, layer in packed_modules(network).items()}
    seen: set[int] = set()
    for name, value in tensors.items():  # safetensors refuses tensors that share memory
        if value.untyped_storage().data_ptr() in seen:
            tensors[name] = value.clone()
        seen.add(value.untyped_storage().data_ptr())
    save_file(tensors, file, metadata=header(network, scheme))
    file.chmod(0o644)


def save_bundle(pipe: Pipeline, folder: str | PathLike, overwrite: bool = False) -> Path:
    """Write `pipe` as a bundle in Hugging Face layout that `load` reads back, quantized as it is.

    It appears under its name only when it is complete; until then, and when anything fails, the bundle that it is to
    take the place of stays. Raises MGTError when something is there already (unless it is a bundle and `overwrite` is
    set), when another process is saving there, and when it cannot be written.
    """
    with bundle_writer(folder, overwrite) as write:
        return write(pipe)


@contextmanager
def bundle_writer(folder: str | PathLike, overwrite: bool = False) -> Iterator[Writer]:
    """What `save_bundle` does with a pipeline, for one that is still to be made: the name is this process's alone from
    now on, and what would stop the saving is said now. `write(pipe, calibration)` keeps what a calibration found beside
    the weights, if there is one."""
    folder = path_named("folder", folder)
    with folders_for(folder) as place, alone(place, "saving"):
        with writing(folder):
            settle(place)
            sweep_folders(place.parent)
            check_target(folder, overwrite)

        def write(pipe: Pipeline, calibration: Calibration | None = None) -> Path:
            if pipe.model.loras:
                raise MGTError(
                    f"the model holds the LoRA {pipe.model.loras[0].name}; save it without and attach it again"
                )
            with writing(folder), written_folder(place) as new:
                write_parts(pipe, new)
                if calibration is not None:
                    calibration.save(calibration_file(new / "transformer", pipe.model.quantization))
            return folder

        yield write


@contextmanager
def folders_for(folder: Path) -> Iterator[Path]:
    """Where `folder` lies, links followed. Folders above it that were not there are removed when the block raises and
    they are empty."""
    with writing(folder):
        place = Path(os.path.realpath(folder))
        made = [above for above in place.parents if not os.path.lexists(above)]
    try:
        yield place
    except BaseException:
        for above in made:
            with suppress(OSError):
                above.rmdir()
        raise


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises MGTError where `save_bundle` must not write."""
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise MGTError(f"{folder} exists already; choose another name, or allow overwriting")
    if not (folder / "model_index.json").is_file():
        raise MGTError(f"{folder} exists and is no bundle (it has no model_index.json); it is not overwritten")
    known = {*PARTS, *(file for kind in map(BACKBONES.get, BACKBONES) for file in kind.beside.values())}
    others = sorted(name for name in os.listdir(folder) if name not in known and not name.startswith("."))
    if others:
        raise MGTError(
            f"{folder} holds {join_some(others)} beside the parts of a bundle, which overwriting would remove; "
            "move that elsewhere first, or choose another name"
        )


def write_parts(pipe: Pipeline, folder: Path) -> None:
    model = pipe.model
    index = {"_class_name": "Pipeline", **({"sample_size": pipe.size[0]} if pipe.size else {})}
    for name in ("transformer", "vqvae", "scheduler"):
        (folder / name).mkdir(parents=True)
    own = {"_class_name": "Transformer2DModel", **model.network.saved_config()}
    write_json(folder / "transformer" / "config.json", own)
    save_weights(model.network, folder / "transformer" / WEIGHTS, model.quantization)
    save_beside(model.network, folder)
    told = (pipe.codec.network, getattr(pipe.codec.network, "config", None))  # of diffusers, of transformers
    if holder := next((one for one in told if hasattr(one, "to_json_string")), None):
        write_json(folder / "vqvae" / "config.json", json.loads(holder.to_json_string()))
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
    for part in pipe.text.saved if pipe.text is not None else ():
        save_tokenizer(part.tokenizer, folder / part.words)
        if part.network is not None:
            (folder / part.folder).mkdir(exist_ok=True)  # where its tokenizer may lie
            config = json.loads(part.network.config.to_json_string())
            known = {CHECKPOINT: part.checkpoint} if part.checkpoint else {}
            write_json(folder / part.folder / "config.json", config | known)
            save_weights(part.network, folder / part.folder / "model.safetensors")
    write_json(folder / "model_index.json", index)


def save_beside(network: Backbone, folder: Path) -> None:
    """What was published beside the transformer's folder, in files of their own (loading/beside.py)."""
    for name, file in network.beside.items():
        if (held := getattr(network, name)) is not None:
            torch.save(held.detach().cpu().clone(), folder / file)


def save_tokenizer(tokenizer, folder: Path) -> None:
    """The files it was read from, where they still are; else what it writes itself."""
    source = Path(tokenizer.name_or_path)
    if vocabulary_in(source):
        folder.mkdir()
        for file in map(source.joinpath, FILES.keys() - {"config.json"}):  # a model and more may lie beside them
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
    else:
        tokenizer.save_pretrained(folder)


def write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
