"""Stand-ins for the modules of ComfyUI that the pack reaches for."""

import sys
from types import SimpleNamespace

import torch

from .device import DEVICE


class FakeFolderPaths:
    """The part of ComfyUI's folder_paths that the pack uses."""

    def __init__(self, models_dir, **kinds):
        self.models_dir = str(models_dir)
        self.folder_names_and_paths = {kind: ([str(p) for p in paths], set()) for kind, paths in kinds.items()}

    def add_model_folder_path(self, kind, path, is_default=False):
        paths = self.folder_names_and_paths.setdefault(kind, ([], set()))[0]
        if path not in paths:
            paths.append(path)

    def get_folder_paths(self, kind):
        return self.folder_names_and_paths[kind][0][:]


class Interrupted(Exception):
    """What ComfyUI raises when the user cancels."""


class FakeComfy:
    """Stand-ins for the modules of ComfyUI, recording what the pack does with them."""

    def __init__(self, patch, method="auto", size=512):
        self.updates, self.checks = [], 0
        self.interrupt_after = None  # (updates, checks since the last of them)
        self.loads, self.memory = [], 2**40
        computing = ("get_torch_device", "vae_device", "text_encoder_device")
        resting = ("intermediate_device", "unet_offload_device", "vae_offload_device", "text_encoder_offload_device")
        management = SimpleNamespace(
            throw_exception_if_processing_interrupted=self.check,
            load_models_gpu=self.load,
            get_total_memory=lambda device: self.memory,
            get_free_memory=lambda device: self.memory // 2,
            current_loaded_models=[],
            should_use_bf16=lambda device: False,
            should_use_fp16=lambda device: False,
            **{name: lambda: DEVICE for name in computing},
            **{name: lambda: torch.device("cpu") for name in resting},
        )
        cli = SimpleNamespace(args=SimpleNamespace(preview_method=SimpleNamespace(value=method), preview_size=size))
        comfy = self

        class ProgressBar:
            def __init__(self, total, node_id=None):
                self.node_id = node_id

            def update_absolute(self, value, total, preview):
                comfy.updates.append((self.node_id, value, total, preview))
                comfy.checks = 0

        class ModelPatcher:
            def __init__(self, model, load_device, offload_device):
                model.device = offload_device  # fails where `device` is a read-only property
                model.model_loaded_weight_memory = 0
                self.model, self.load_device, self.offload_device = model, load_device, offload_device

        patch.setitem(sys.modules, "comfy.model_management", management)
        patch.setitem(sys.modules, "comfy.cli_args", cli)
        patch.setitem(sys.modules, "comfy.utils", SimpleNamespace(ProgressBar=ProgressBar))
        patch.setitem(sys.modules, "comfy.model_patcher", SimpleNamespace(ModelPatcher=ModelPatcher))

    def check(self):
        self.checks += 1
        if self.interrupt_after == (len(self.updates), self.checks):
            raise Interrupted

    def load(self, patchers, memory_required=0):
        self.loads.append([type(patcher.model.network).__name__ for patcher in patchers])
