"""A pack for the tests only: tells which models are still alive in the server process."""

from __future__ import annotations

import gc
from collections import Counter

import comfy.model_management
import torch
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}
LIBRARIES = ("transformers.", "diffusers.")


def _is_ours(thing: object) -> bool:
    """A network of ours, or of the libraries we load with; their constants without weights do not count."""
    kind = type(thing)
    return (
        issubclass(kind, torch.nn.Module)
        and (".mgt_core" in kind.__module__ or kind.__module__.startswith(LIBRARIES))
        and next(thing.parameters(), None) is not None
    )


@PromptServer.instance.routes.get("/mgt_probe")
async def probe(_request: web.Request) -> web.Response:
    """{"alive": {class name: objects}, "loaded": [class names in the host's own list]}"""
    gc.collect()
    alive = Counter(type(thing).__name__ for thing in gc.get_objects() if _is_ours(thing))
    patchers = (entry.model for entry in comfy.model_management.current_loaded_models)
    loaded = [type(patcher.model).__name__ for patcher in patchers if patcher is not None]
    return web.json_response({"alive": alive, "loaded": loaded})


@PromptServer.instance.routes.get("/mgt_sizes")
async def sizes(_request: web.Request) -> web.Response:
    """[[class name of the network, bytes as the host counts them, bytes of its tensors, packed layers in it]]"""
    found = []
    for entry in comfy.model_management.current_loaded_models:
        if entry.model is None:
            continue
        holder = entry.model.model
        tensors = {id(t): t for t in (*holder.parameters(), *holder.buffers())}
        packed = sum(1 for module in holder.modules() if type(module).__module__.endswith("quantization.layers"))
        network = type(getattr(holder, "network", holder)).__name__
        counted = comfy.model_management.module_size(holder)
        found.append([network, counted, sum(t.nbytes for t in tensors.values()), packed])
    return web.json_response(found)
