"""The only contact with ComfyUI: devices, memory, folders, progress, previews and interrupts.

Its modules are looked up at every use, among those already loaded: inside ComfyUI they all are by the time a node runs,
and importing them elsewhere would parse the command line and claim a device. Without ComfyUI every function works:
networks stay where they were loaded, models lie in the pack's own `models/mgt`, and there are no previews.
"""

import copy
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .. import mgt_core
from ..mgt_core.backbones.base import Backbone
from ..mgt_core.backbones.branch import Branch
from ..mgt_core.errors import lookup
from ..mgt_core.presets import preset_files
from ..mgt_core.room import Room
from . import folders
from .folders import FOLDER
from .memory import room_on
from .names import PRESET_FOLDER, new_bundle
from .streaming import bring_the_rest, let_stream

BUILT_IN = "demo"
BLANK = "blank canvas"
FROM_BUNDLE, NONE, BESIDE = "from the bundle", "none", "beside the encoder"
SEARCHED_FOLDERS = (FOLDER, "diffusers", "diffusion_models", "checkpoints")
TEXT_FOLDERS = ("text_encoders", "clip", FOLDER, "diffusers", "clip_vision")
CODEC_FOLDERS = (FOLDER, "vae")
SEARCH_DEPTH = 3  # levels below a search path at which a bundle is still found
PACK = Path(__file__).resolve().parent.parent
DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

ProgressReport = Callable[[int, int, str | None], None]
_report: ContextVar[ProgressReport | None] = ContextVar("mgt_progress_report", default=None)


def _comfy(name: str) -> ModuleType | None:
    """A module of ComfyUI, or None outside it."""
    return sys.modules.get(name)


# Devices and memory


def intermediate_device() -> torch.device:
    """Where what travels between nodes (CONDITIONING, IMAGE) lies."""
    management = _comfy("comfy.model_management")
    return management.intermediate_device() if management else torch.device("cpu")


def _auto_dtype() -> torch.dtype | None:
    """What ComfyUI would compute in; None outside it, which leaves the choice to the library."""
    management = _comfy("comfy.model_management")
    if not management:
        return None
    device = management.get_torch_device()
    if management.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if management.should_use_fp16(device) else torch.float32


class MGTNetwork(nn.Module):
    """What the host manages. Networks of transformers and diffusers have a read-only `device`, which it sets."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


class ManagedPlacement:
    """Lets ComfyUI decide when a network lies on the GPU, and a backbone also how much of it.

    The host refers to its patchers weakly, so this object, held by the handle that flows through the
    graph, is what keeps the weights alive.
    """

    def __init__(self, network: nn.Module, load_device: torch.device, offload_device: torch.device):
        if isinstance(network, Backbone):
            let_stream(network)
        patcher = _comfy("comfy.model_patcher").ModelPatcher
        self._patcher = patcher(MGTNetwork(network), load_device=load_device, offload_device=offload_device)
        self._kept: tuple[ManagedPlacement, ...] = ()

    def beside(self, other: "ManagedPlacement") -> "ManagedPlacement":
        """The same network, placed so that making room for it does not push `other` off the device."""
        placement = copy.copy(self)
        placement._kept = (*self._kept, other)
        return placement

    def joined(self, network: nn.Module, added: nn.Module) -> "ManagedPlacement":
        """For a network that shares the layers of this one: they stay under the one patcher that counts and
        moves them, and what was `added` gets one of its own."""
        patcher, rest = self._patcher, self._patcher.offload_device
        return self.beside(ManagedPlacement(added.to(rest), patcher.load_device, rest))

    def acquire(self, memory: int = 0) -> torch.device:
        """Weights made usable on the load device, after freeing room for them and for `memory` bytes more."""
        device, patchers = self._patcher.load_device, self._patchers()
        _comfy("comfy.model_management").load_models_gpu(patchers, memory_required=memory)
        for patcher in patchers:
            patcher.model.model_loaded_weight_memory += bring_the_rest(patcher.model, _indexed(device))
        return device

    def room(self) -> Room:
        return room_on(_comfy("comfy.model_management"), self._patcher.load_device)

    def _patchers(self) -> list[Any]:
        return [self._patcher, *(patcher for kept in self._kept for patcher in kept._patchers())]


def _indexed(device: torch.device) -> torch.device:
    """The device as tensors on it name it: "cuda" is the current one."""
    return torch.empty(0, device=device).device


def _place(pipe: mgt_core.Pipeline) -> mgt_core.Pipeline:
    """The pipeline with its networks under ComfyUI's memory management; outside it, as it is."""
    management = _comfy("comfy.model_management")
    if not management:
        return pipe
    parts = {name: getattr(pipe, name) for name in ("model", "text", "codec")}
    placed = {n: p.with_placement(ManagedPlacement(p.network, *_devices(n))) for n, p in parts.items() if p is not None}
    placed["model"] = replace(placed["model"], codec=placed["codec"])  # for previews, in the same place
    return replace(pipe, **placed)


def _devices(part: str) -> tuple[torch.device, torch.device]:
    """Where ComfyUI loads a part of a pipeline ("model", "text" or "codec"), and where it rests."""
    management = _comfy("comfy.model_management")
    kind = {"text": "text_encoder", "codec": "vae"}.get(part)
    if kind is None:
        return management.get_torch_device(), management.unet_offload_device()
    return getattr(management, f"{kind}_device")(), getattr(management, f"{kind}_offload_device")()


def place(part: Any, kind: str) -> Any:
    """A model, text encoder or codec that was just quantized, under ComfyUI's memory management.

    What it shares with the one it was made from is copied: the host moves each of the two by itself.
    """
    if not _comfy("comfy.model_management"):
        return part
    devices = _devices(kind)
    network = mgt_core.replaced(part.network, {}, share=False).to(devices[1])
    return replace(part, network=network, placement=ManagedPlacement(network, *devices))


def bundle_target(name: str) -> Path:
    """Folder of ours that a new bundle of this name goes to. Raises MGTError where it would not be listed."""
    return new_bundle(next(root for kind, root, _ in _search_paths() if kind == FOLDER), name, SEARCH_DEPTH)


def beside(codec: mgt_core.Codec, model: mgt_core.MGTModel) -> mgt_core.Codec:
    """The codec, for use in the middle of a run of `model`, which must stay where it is."""
    if isinstance(codec.placement, ManagedPlacement) and isinstance(model.placement, ManagedPlacement):
        return codec.with_placement(codec.placement.beside(model.placement))
    return codec


# Folders


def bundles() -> dict[str, str]:
    """Models that can be picked: name in the widget -> what `mgt_core.load` takes, the built-in ones first."""
    return {**{name: name for name in folders.BUILT_IN}, **folders.bundles_in(_search_paths())}


def lenders(part: str) -> dict[str, str]:
    """Models that can lend a part ("vqvae", "text_encoder", "tokenizer")."""
    return folders.lenders(bundles(), part)


def text_encoders() -> dict[str, str]:
    """Text encoders that can be picked in place of a bundle's: those that lie alone, and those of bundles."""
    alone, lent = folders.text_encoders_in(_search_paths(TEXT_FOLDERS)), lenders("text_encoder")
    return {**folders.told_apart(alone, lent, "text_encoders"), **lent}


def codecs() -> dict[str, str]:
    """Codecs that can be picked in place of a bundle's: those of bundles, and those that lie alone."""
    alone, lent = folders.codecs_in(_search_paths(CODEC_FOLDERS)), lenders("vqvae")
    return {**lent, **folders.told_apart(alone, lent, "vae")}


def _search_paths(kinds: Sequence[str] = SEARCHED_FOLDERS) -> Iterator[tuple[str, Path, int]]:
    """(kind of folder, path, levels to search below it), best first."""
    folder_paths = _comfy("folder_paths")
    if not folder_paths:
        return (yield from ((kind, PACK / "models" / kind, SEARCH_DEPTH) for kind in kinds))
    # Adds to what extra_model_paths.yaml gave; does nothing when it is there already.
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    for kind in kinds:
        if kind in folder_paths.folder_names_and_paths:
            for path in folder_paths.get_folder_paths(kind):
                yield kind, Path(path), SEARCH_DEPTH
    if kinds is SEARCHED_FOLDERS:
        yield "models", Path(folder_paths.models_dir), 1


def loras() -> dict[str, str]:
    """LoRA files that can be picked: name in the widget -> path, from ComfyUI's `loras` folders."""
    folder_paths = _comfy("folder_paths")
    return folders.named_by(folder_paths, "loras") if folder_paths else folders.weights_in(PACK / "models" / "loras")


def input_folder() -> Path | None:
    """Where the host's Load Image finds pictures; None outside it."""
    folder_paths = _comfy("folder_paths")
    return Path(folder_paths.get_input_directory()) if folder_paths else None


def presets(own: bool = False) -> dict[str, Path]:
    """Presets that can be picked, or only the pack's own: name in the widget -> file."""
    others = [] if own else [root / PRESET_FOLDER for kind, root, _ in _search_paths() if kind == FOLDER]
    return preset_files([PACK / PRESET_FOLDER, *others])


def load(
    name: str,
    dtype: str,
    quantization: str = "none",
    node_id: str | None = None,
    text_encoder: str = FROM_BUNDLE,
    codec: str = FROM_BUNDLE,
    base: str = NONE,
) -> mgt_core.Pipeline:
    """The bundle that the widget calls `name`, with parts from elsewhere where they are named.

    Raises MGTError when there is none, or it cannot be read."""
    path, number = lookup("model", name, bundles()), lookup("dtype", dtype, DTYPES)
    own = (FROM_BUNDLE, NONE)
    others = {
        "text_encoder": None if text_encoder in own else lookup("text_encoder", text_encoder, text_encoders()),
        "codec": None if codec in own else lookup("codec", codec, codecs()),
        "base": None if base in own else lookup("base", base, lenders("vqvae")),
        "shelves": [root for _, root, _ in _search_paths(TEXT_FOLDERS)],
    }
    management = _comfy("comfy.model_management")
    device = management.unet_offload_device() if management else None
    held = {"text": text_encoder != NONE, "calibrate": False, **others}
    pipe = _place(mgt_core.load(path, number or _auto_dtype(), device, quantization, **held))
    if pipe.advice:
        show_text(pipe.advice, node_id)
    bar = Progress(1, node_id)

    def progress(done: int, total: int) -> None:
        raise_if_interrupted()
        bar.update(done, total)

    # Calibrated where the host wants it computed, so after it has been placed.
    quantized = mgt_core.quantize_pipeline(pipe, quantization, progress)
    is_placed = quantized.model.network is pipe.model.network  # as it was read
    return quantized if is_placed else replace(quantized, model=place(quantized.model, "model"))


def load_text(name: str, tokenizer: str, dtype: str) -> mgt_core.TextEncoder:
    """The text encoder that the widget calls `name`. Raises MGTError when there is none, or it cannot be read."""
    path, number = lookup("text_encoder", name, text_encoders()), lookup("dtype", dtype, DTYPES)
    words = lookup("tokenizer", tokenizer, {BESIDE: None, **lenders("tokenizer")})
    if not _comfy("comfy.model_management"):
        return mgt_core.load_text_encoder(path, number, None, words)
    devices = _devices("text")
    text = mgt_core.load_text_encoder(path, number or _auto_dtype(), devices[1], words)
    return text.with_placement(ManagedPlacement(text.network, *devices))


def branches() -> dict[str, str]:
    """Self-Guidance branches that can be picked: name in the widget -> file or bundle, "" for none."""
    return {BLANK: "", **bundles(), **folders.branches_in(_search_paths())}


def load_branch(name: str, model: mgt_core.MGTModel) -> Branch:
    """The branch for `model` that the widget calls `name`. Raises MGTError when there is none, or for another."""
    path = lookup("branch", name, branches())
    return mgt_core.load_branch(path, model.network) if path else mgt_core.fresh_branch(model.network)


# Progress, previews, interrupts


@contextmanager
def progress_to(report: ProgressReport) -> Iterator[None]:
    """Outside ComfyUI: `report(done, total, node_id)` is called after each step that runs inside this block."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


class Progress:
    """Progress bar of one node."""

    def __init__(self, total: int, node_id: str | None):
        utils = _comfy("comfy.utils")
        self._bar = utils.ProgressBar(total, node_id=node_id) if utils else None
        self._node_id = node_id

    def update(self, done: int, total: int, picture: Any = None) -> None:
        """picture: a PIL image to show under the bar, at its own size, or None."""
        if self._bar:
            self._bar.update_absolute(done, total, ("JPEG", picture, None) if picture is not None else None)
        if report := _report.get():
            report(done, total, self._node_id)


def preview_settings() -> tuple[str, int]:
    """The preview method ("none", "auto", "latent2rgb" or "taesd") and the largest side, as the user set them."""
    cli = _comfy("comfy.cli_args")
    if not cli:
        return "none", 0
    return getattr(cli.args.preview_method, "value", cli.args.preview_method), cli.args.preview_size


def show_text(text: str, node_id: str | None) -> None:
    """Writes `text` under a node; the front end leaves what V1 nodes return as ui text unshown.

    Nodes 2.0 takes it for Markdown, where two blanks before it keep the end of a line; elsewhere they are not seen."""
    server = _comfy("server")
    instance = getattr(server.PromptServer, "instance", None) if server else None
    if node_id is not None and hasattr(instance, "send_progress_text"):
        instance.send_progress_text(text.replace("\n", "  \n"), node_id, instance.client_id)


def temporary(prefix: str, suffix: str) -> tuple[Path, str] | None:
    """A new file in ComfyUI's temporary folder, which it empties when it starts, and the subfolder that it names it by;
    None outside ComfyUI."""
    folder_paths = _comfy("folder_paths")
    if not folder_paths:
        return None
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_temp_directory())
    return Path(folder, f"{name}_{counter:05}_{suffix}"), subfolder


def raise_if_interrupted() -> None:
    """Raises the host's own exception when the user has pressed cancel."""
    if management := _comfy("comfy.model_management"):
        management.throw_exception_if_processing_interrupted()
