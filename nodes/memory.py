"""Memory of a device as ComfyUI counts it."""

from types import ModuleType

import torch

from ..mgt_core.room import Room, main_memory


def room_on(management: ModuleType, device: torch.device) -> Room:
    """management: comfy.model_management. Models that it would move off a GPU to make room count as free."""
    if getattr(management, "directml_enabled", False):  # of which ComfyUI says 1 GB, whatever there is
        return Room(device)
    if device.type == "cpu" and (room := main_memory(device)).free is not None:
        return room  # of a container, and with swap
    free = management.get_free_memory(device)
    if device.type != "cpu":
        loaded = (each for each in management.current_loaded_models if each.device == device)
        free += sum(each.model_loaded_memory() for each in loaded)
    return Room(device, int(management.get_total_memory(device)), int(free))
