"""One block at full width, and a whole network of random weights: loaded packed, and one guided step of it."""

import copy
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import mgt_core
from mgt_core.backbones.language.dimoo import LuminaDiMOO
from mgt_core.backbones.language.llada import PREFIX, Block
from mgt_core.backbones.language.rotary import rotary_halves
from mgt_core.loading.networks import backbone_of
from mgt_core.loading.part import as_transformer, read_part
from mgt_core.quantization.arriving import Packing
from mgt_core.quantization.layers import Treatment, packed_layers, stored_bytes
from mgt_core.quantization.schemes import W4A8
from mgt_core.quantization.surgery import replaced
from recipe.files import save_sharded, write_json

from .sizes import LUMINA

SHARD_BYTES = 2**30
POOL = 2**24  # random numbers that all matrices are cut from, which is quicker to draw
WORDS = 32  # of a prompt
PACKED = Treatment("static", (0.05,))  # what becomes of the inputs changes no bytes


def random_weights(values: dict) -> Iterator[tuple[str, Tensor]]:
    """Of a Lumina-DiMOO of these sizes by published names, bfloat16, unit gain."""
    with torch.device("meta"):
        wanted = LuminaDiMOO(LuminaDiMOO.configure(values, {})).state_dict()
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0)).bfloat16()
    for place, (name, like) in enumerate(wanted.items()):
        rows = values["embedding_size"] if name == "ff_out.weight" else like.shape[0]
        shape = (rows, *like.shape[1:])
        if like.ndim == 1:
            value = torch.ones(shape, dtype=torch.bfloat16)
        else:
            repeats = -(-rows * shape[1] // POOL) + 1
            value = (pool * shape[1] ** -0.5).repeat(repeats)[place : place + rows * shape[1]].reshape(shape)
        yield PREFIX + name, value


def write(folder: Path, values: dict = LUMINA) -> dict:
    folder.mkdir(parents=True)
    write_json(folder / "config.json", values | {"architectures": [LuminaDiMOO.architecture]})
    save_sharded(random_weights(values), folder, "model", SHARD_BYTES)
    return {"bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors"))}


def memory(field: str) -> int:
    """Bytes that Linux says this process has (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def forget_peak() -> int:
    """What the process has now, which is its peak until it has more."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def load_and_step(folder: Path, side: int, told: Callable[[dict], None] = lambda found: None) -> dict:
    """Peaks in bytes above what the process had before; computed in float32, as on any CPU. side: of the picture, in
    pixels. told: is given what loading took before the step begins."""
    part = as_transformer(read_part(folder))
    with torch.device("meta"):
        LuminaDiMOO(LuminaDiMOO.configure(LUMINA | {"n_layers": 1}, {}))  # which imports what building takes
    before, start = forget_peak(), time.perf_counter()
    network = backbone_of(part, torch.float32, torch.device("cpu"), Packing(W4A8().weights_alone))
    taken, packed = time.perf_counter() - start, stored_bytes(network)
    found = {"packed": packed, "load_peak": memory("VmHWM") - before, "load_seconds": taken}
    found["load_ratio"] = found["load_peak"] / packed
    told(found)
    layers = list(packed_layers(network).values())
    for layer in layers[:: round(1 / W4A8().int8_share)]:
        layer.treat(PACKED)
    model = mgt_core.MGTModel(network, pixels_per_token=16)
    generator = torch.Generator().manual_seed(0)
    prompt, empty = (torch.randint(1000, (1, size), generator=generator) for size in (WORDS, 12))
    state = mgt_core.empty_state(1, (side // 16, side // 16), model.mask_id, model.codebook_size)
    forget_peak()
    start = time.perf_counter()
    pair = mgt_core.Condition(prompt=prompt), mgt_core.Condition(prompt=empty)
    out = mgt_core.sample(model, state, *pair, steps=1, cfg=4.0, seed=0, temperature=(1.0, 1.0))
    found |= {
        "step_peak": memory("VmHWM") - before,
        "step_seconds": time.perf_counter() - start,
        "rows": len(network.frame((side // 16, side // 16))) + WORDS,
        "filled": not bool(out.masked.any()),
    }
    return found


def block(rows: int) -> dict:
    """Seconds and bytes of one block at full width, two passes of `rows` rows in one batch, by form of its weights."""
    config = LuminaDiMOO.configure(LUMINA, {})
    torch.manual_seed(0)
    whole = Block(config).requires_grad_(False)
    scheme, found = W4A8(), {}
    x = torch.randn(2, rows, config.d_model)
    tables = rotary_halves(tuple(range(rows)), config.head_dim, config.rope_theta)
    for name in ("float32", "bfloat16", "w4a8"):
        if name == "w4a8":
            layers = {n: scheme.pack(layer) for n, layer in whole.named_modules() if hasattr(layer, "in_features")}
            layers["attn_out"].treat(PACKED)
            made = replaced(whole.float(), layers)
        else:
            made = copy.deepcopy(whole).to(getattr(torch, name))
        dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
        start = time.perf_counter()
        out = made(x.to(dtype), tables, None)
        found[name] = {"seconds": time.perf_counter() - start, "bytes": stored_bytes(made)}
        assert bool(torch.isfinite(out).all())
        del made, out
    return found
