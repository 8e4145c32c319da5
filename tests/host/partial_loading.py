"""Run by a Python that has ComfyUI's requirements, in its folder: its own ModelPatcher and loader on a network of ours.

Without a GPU the load device is "meta": whenever a layer is called, its weights have to be there. That results do
not change is shown by the same partial loads with the CPU as both devices. Writes one JSON object.
"""

import importlib.util
import json
import sys
from pathlib import Path

PACK, COMFY = sys.argv[1:3]
sys.argv = sys.argv[:1]
sys.path.insert(0, COMFY)
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import comfy.model_management as management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import torch  # noqa: E402

CPU, META = torch.device("cpu"), torch.device("meta")


def load_pack():
    spec = importlib.util.spec_from_file_location("pack", Path(PACK) / "__init__.py", submodule_search_locations=[PACK])
    module = sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules["pack.nodes.host"], sys.modules["pack.mgt_core"]


host, mgt_core = load_pack()


def bytes_of(network, device=None):
    return sum(p.nbytes for p in network.parameters() if device is None or p.device == device)


def behind(network):
    return [m for m in network.modules() if getattr(m, "comfy_cast_weights", False)]


def logits(pipe):
    tokens = torch.full((1, *pipe.model.network.trained_grid), pipe.model.mask_id)
    return pipe.model.logits(tokens, pipe.text.encode(["a red heart"]), 3.0)


@torch.inference_mode()
def forward_on(device, pipe, condition):
    network = pipe.model.network
    grid = network.trained_grid
    tokens = torch.zeros(1, *grid, dtype=torch.long, device=device)
    prepared = network.prepare(condition.to(device), grid)
    return network.head(network.features(tokens, torch.zeros(1, device=device), prepared)).device.type


def watch(network):
    """The set that devices of weights go into when their layers are called."""
    seen = set()
    for layer in network.modules():
        if list(layer.parameters(recurse=False)):
            own = layer._parameters
            layer.register_forward_pre_hook(
                lambda _, __, own=own: seen.update(p.device.type for p in own.values() if p is not None)
            )
    return seen


def on_cpu(quantization):
    """Shares of the network's bytes -> (share that ComfyUI says is loaded, layers left behind, logits unchanged)."""
    pipe = host.load("demo", "float32", quantization)
    network, patcher = pipe.model.network, pipe.model.placement._patcher
    expected = logits(pipe)
    found = {"size": [patcher.model_size(), bytes_of(network)], "steps": []}
    for share in (0.1, 0.5, 0.9):
        patcher.detach()
        assert not behind(network)
        patcher.partially_load(CPU, extra_memory=int(share * patcher.model_size()))
        left = len(behind(network))
        same = torch.equal(logits_without_host(pipe), expected)
        found["steps"].append([share, patcher.loaded_size() / patcher.model_size(), left, same])
    patcher.partially_load(CPU, extra_memory=1e32)
    found["whole"] = [len(behind(network)), torch.equal(logits_without_host(pipe), expected)]
    patcher.partially_unload(CPU, patcher.model_size() // 2)
    found["unloaded"] = [len(behind(network)), torch.equal(logits(pipe), expected)]
    return found


def logits_without_host(pipe):
    """As the weights lie now."""
    placed = pipe.model.placement
    object.__setattr__(pipe.model, "placement", None)
    try:
        return logits(pipe)
    finally:
        object.__setattr__(pipe.model, "placement", placed)


def on_meta(quantization):
    """ComfyUI's loader with nothing free: what lies where after `acquire`, and that a forward runs there."""
    pipe = host.load("demo", "float32", quantization)
    network = pipe.model.network
    condition = pipe.text.encode(["a"], size=(64, 64))
    patcher = pipe.model.placement._patcher
    patcher.load_device = META
    pipe.model.placement.acquire(2**20)
    left = [p for layer in behind(network) for p in layer.parameters()]
    watched = watch(network)
    found = {
        "kept on the CPU": sum(p.nbytes for p in left),
        "all on the CPU": bytes_of(network, CPU),
        "moved": bytes_of(network, META),
        "loaded": patcher.loaded_size(),
        "seen": watched,
        "output": forward_on(META, pipe, condition),
    }
    found["seen"] = sorted(watched)
    found["after"] = bytes_of(network, CPU)
    management.current_loaded_models.clear()
    return found


results = {scheme: {"cpu": on_cpu(scheme)} for scheme in ("none", "fp8", "w4a16")}
management.vram_state, management.lowvram_available = management.VRAMState.NO_VRAM, True
free = management.get_free_memory
management.get_free_memory = lambda device=None, torch_free_too=False: (
    free(device, torch_free_too) if device == CPU else (2**20, 2**20) if torch_free_too else 2**20
)
for scheme in results:
    results[scheme]["meta"] = on_meta(scheme)
sys.stdout.write(json.dumps(results) + "\n")
