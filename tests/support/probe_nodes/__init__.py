"""A pack for the tests only: tells which models are still alive in the server process."""

from __future__ import annotations

import dataclasses
import gc
from collections import Counter

import comfy.model_management
import torch
from aiohttp import web
from server import PromptServer

FAULTS = {
    "error": RuntimeError,
    "memory": torch.OutOfMemoryError,
    "interrupt": comfy.model_management.InterruptProcessingException,
}


class Fault:
    """A logits modifier that raises at its step; written against what modifiers offer, not their class."""

    all_positions, by_rows = False, True

    def __init__(self, step: int, kind: str) -> None:
        self.step, self.kind = step, kind

    def begin(self) -> Fault:
        return self

    def __call__(self, logits: torch.Tensor, step: object) -> torch.Tensor:
        if step.index == self.step:
            raise FAULTS[self.kind]("set by the test")
        return logits


class ProbeFault:
    """MGT_MODEL in, and out with a fault at a step of its runs."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "attach", ("MGT_MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model": ("MGT_MODEL",), "step": ("INT", {"default": 0}), "kind": (list(FAULTS),)}}

    def attach(self, model: object, step: int, kind: str) -> tuple:
        return (dataclasses.replace(model, modifiers=(*model.modifiers, Fault(step, kind))),)


class ProbeScore:
    """MGT_REWARD and pictures in, one for each image of a batch; shows their scores."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "score", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"reward": ("MGT_REWARD",), "images": ("IMAGE",)}}

    def score(self, reward: object, images: torch.Tensor) -> dict:
        assert torch.is_inference_mode_enabled()
        return {"ui": {"text": [repr(each) for each in reward.score(images, range(len(images))).tolist()]}}


class ProbeCount:
    """FLOAT in and out; shows how often it has run in this process."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "count", ("FLOAT",)
    calls = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"value": ("FLOAT", {"default": 1.0})}}

    def count(self, value: float) -> tuple:
        ProbeCount.calls += 1
        return (value,)


NODE_CLASS_MAPPINGS: dict[str, type] = {"ProbeFault": ProbeFault, "ProbeScore": ProbeScore, "ProbeCount": ProbeCount}
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


@PromptServer.instance.routes.get("/mgt_count")
async def count(_request: web.Request) -> web.Response:
    """How often ProbeCount has run."""
    return web.json_response({"calls": ProbeCount.calls})


@PromptServer.instance.routes.get("/mgt_tensors")
async def tensors(_request: web.Request) -> web.Response:
    """Bytes of all tensors that Python knows of, leaving out kinds without memory, as torch.compile traces with."""
    gc.collect()
    known = (thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter))
    return web.json_response(
        sum(storage.nbytes() for storage in {t.data_ptr(): t.untyped_storage() for t in known}.values())
    )


@PromptServer.instance.routes.get("/mgt_sizes")
async def sizes(_request: web.Request) -> web.Response:
    """[[class name of the network, bytes as the host counts them, bytes of its tensors, packed layers in it]]"""
    found = []
    for entry in comfy.model_management.current_loaded_models:
        if entry.model is None:
            continue
        holder = entry.model.model
        tensors = {id(t): t for t in (*holder.parameters(), *holder.buffers())}
        packed = sum(1 for module in holder.modules() if getattr(module, "packed", False))
        network = type(getattr(holder, "network", holder)).__name__
        counted = comfy.model_management.module_size(holder)
        found.append([network, counted, sum(t.nbytes for t in tensors.values()), packed])
    return web.json_response(found)
