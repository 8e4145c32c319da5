"""What a step asks of a GPU's host, counted without one: kernels, launches, and processor time.

    python -m bench.speed.launches [--json FILE]

Kernels do not depend on how wide a network is, so a Meissonic of the published depth and next to no width is run, at
64 x 64 tokens, batch 1 and guidance 9, in bfloat16: on a pretended device (tests/support/pretended), which counts every
operation that starts a kernel, in plain torch, without comfy-kitchen and Triton; a launched graph counts as one. And on
the CPU, where arithmetic is then nothing, for the processor time that the host takes for a step: with graphs recorded
by a stand-in that computes nothing again, which leaves the time around them. Figures are means of the steps after the
first, of a second run: two periods of the token cache.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import mgt_core
from mgt_core.backbones.meissonic.config import MeissonicConfig
from mgt_core.backbones.meissonic.network import MeissonicTransformer
from mgt_core.kernels.cuda_graph import RECORDERS
from mgt_core.model import MGTModel

from ..hardware import in_short
from ..support import support
from .rows import APPROXIMATE, RECORDED, attach_all

CONFIG = MeissonicConfig(
    num_layers=14,
    num_single_layers=28,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=16,
    pooled_projection_dim=16,
    axes_dims_rope=(4, 2, 2),
    vocab_size=8256,
    codebook_size=8192,
    downsample=True,
    upsample=True,
)
SMALL = replace(CONFIG, vocab_size=72, codebook_size=64)  # for the processor: drawing among 8192 codes is arithmetic
WIDE, NARROW = (64, 64), (8, 8)  # grids of tokens
LENGTH, WIDTH = 7, 16
GRAPHS = "cuda_graphs"
ROWS = {
    "exact": (),
    "token cache": ("token_cache",),
    "step skipping, every 4": ("step_skipping_4",),
    "everything approximate": APPROXIMATE,
    "everything approximate that is recorded": RECORDED,
}
STEPS = 17


def network(config: MeissonicConfig, dtype: torch.dtype) -> MeissonicTransformer:
    torch.manual_seed(0)
    return MeissonicTransformer(config).to(dtype).eval().requires_grad_(False)


def sampled(model: MGTModel, grid: tuple[int, int], callback=None) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = [
        mgt_core.Condition(
            hidden=torch.randn(1, LENGTH, WIDTH, generator=generator),
            pooled=torch.randn(1, CONFIG.width, generator=generator),
        )
        for _ in range(2)
    ]
    state = mgt_core.empty_state(1, grid, model.mask_id, model.codebook_size)
    settings = {"sampler": "maskgit", "schedule": "cosine", "cfg": 9.0, "temperature": (2.0, 0.0)}
    mgt_core.sample(model, state, *texts, steps=STEPS, callback=callback, **settings)


def kernels(parts: tuple[str, ...]) -> dict[str, float]:
    """Kernels a step, and waits of the host."""
    pretended = support("pretended").PretendedCUDA
    with pretended() as watch:
        own = network(CONFIG, torch.bfloat16)
        watch.put(own)
        model = attach_all(parts, MGTModel(own, 16))
        sampled(model, WIDE)
        watch.reset()
        sampled(model, WIDE, lambda step: watch.mark())
        own = watch.parts[1:STEPS]
        return {
            "kernels": round(sum(part.kernels.total() for part in own) / len(own), 1),
            "waits": round(sum(part.waits.total() for part in own) / len(own), 2),
        }


class Nothing:
    """In the place of a recorder: what was computed once stays."""

    def __init__(self, device: torch.device):
        pass

    def record(self, compute):
        out = compute()
        return (lambda: None), out


@contextmanager
def recorded_as_nothing() -> Iterator[None]:
    RECORDERS["cpu"] = Nothing
    try:
        yield
    finally:
        del RECORDERS["cpu"]


def host_milliseconds(parts: tuple[str, ...]) -> float:
    """Processor time of a step, the least of four runs."""
    model, found = attach_all(parts, MGTModel(network(SMALL, torch.float32), 16)), []
    with recorded_as_nothing():
        for _ in range(4):
            at = []
            sampled(model, NARROW, lambda step, at=at: at.append(time.process_time()))
            found.append((at[-1] - at[0]) / (STEPS - 1))
    return round(1000 * min(found), 2)


def measure() -> dict[str, dict[str, float]]:
    found = {}
    for name, parts in ROWS.items():
        for label, own in ((name, parts), (f"{name}, CUDA graphs", (*parts, GRAPHS))):
            found[label] = kernels(own) | {"host_ms": host_milliseconds(own)}
            print(f"{label:46} {found[label]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {"hardware": in_short(), "steps": STEPS, "rows": measure()}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
