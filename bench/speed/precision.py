"""What the number format of the weights does to tokens, and what a float32 token head mends of it.

    python -m bench.speed.precision [--prompts 24] [--steps 24] [--json FILE]

Every format is compared with float32 on the states that a float32 run of the built-in model passes through: the share
of masked cells that draw another token from the same random numbers, with the head in float32 as it is, and with the
head in the format of the weights as it would be otherwise. Means and their 95 % intervals (normal) are over prompts;
times are of whole steps, in turns.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import mgt_core
from mgt_core.backbones.base import Backbone
from mgt_core.sampling.draws import inverse_cdf
from mgt_core.sampling.guided import GuidedNetwork

from ..hardware import in_short
from ..quality.prompts import prompts

FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
GUIDANCES = (2.0, 9.0)


@contextmanager
def narrow_head(network: Backbone) -> Iterator[None]:
    """The token head in the format of the weights too."""
    head, dtype = network.head, network.mlm_layer.conv1.weight.dtype
    network.head = lambda features: head(features.to(dtype)).float()
    try:
        yield
    finally:
        del network.head


@dataclass
class Tally:
    """Of one format, guidance and head: the share of cells that differ, a prompt each, and seconds in all."""

    differ: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        shares = torch.tensor(self.differ)
        return {
            "differ": round(float(shares.mean()), 5),
            "plus_minus": round(float(1.96 * shares.std() / len(shares) ** 0.5), 5),
            "seconds": round(self.seconds, 2),
        }


def states(pipe: mgt_core.Pipeline, caption: str, steps: int, cfg: float, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Tokens [1, h, w] before every step of a run, and the share of them that is masked [1], which is their time."""
    found: list[tuple[Tensor, Tensor]] = []

    def note(step: mgt_core.Step) -> None:
        found.append((step.tokens, (step.tokens == pipe.model.mask_id).float().mean().reshape(1)))

    conditions = pipe.text.encode(caption, size=pipe.size), pipe.text.encode("", size=pipe.size)
    empty = mgt_core.empty_tokens(pipe, *pipe.size)
    mgt_core.sample(pipe.model, empty, *conditions, steps=steps, cfg=cfg, seed=seed, callback=note)
    return found


def measure(count: int, steps: int) -> dict[str, dict[str, float]]:
    """Figures by "format, guidance, head"."""
    exact = mgt_core.load("demo", dtype=torch.float32, device="cpu")
    others = {name: mgt_core.load("demo", dtype=dtype, device="cpu") for name, dtype in FORMATS.items()}
    tallies: dict[str, Tally] = {}
    for seed, scene in enumerate(prompts(count)):
        for cfg in GUIDANCES:
            passed = states(exact, scene.caption, steps, cfg, seed)
            uniform = torch.rand(steps, passed[0][0].numel(), dtype=torch.float64, generator=generator(seed))
            wanted, _ = drawn(exact, scene.caption, cfg, passed, uniform)
            for name, pipe in others.items():
                for head in ("float32", name):
                    if head == "float32":
                        ids, seconds = drawn(pipe, scene.caption, cfg, passed, uniform)
                    else:
                        with narrow_head(pipe.model.network):
                            ids, seconds = drawn(pipe, scene.caption, cfg, passed, uniform)
                    tally = tallies.setdefault(f"{name}, guidance {cfg:g}, head in {head}", Tally())
                    tally.differ.append(float((ids != wanted).float().mean()))
                    tally.seconds += seconds
    return {name: tally.figures() for name, tally in tallies.items()}


def drawn(
    pipe: mgt_core.Pipeline, caption: str, cfg: float, passed: list[tuple[Tensor, Tensor]], uniform: Tensor
) -> tuple[Tensor, float]:
    """Ids of all masked cells of all states, and the seconds that the network took."""
    conditions = pipe.text.encode(caption, size=pipe.size), pipe.text.encode("", size=pipe.size)
    grid = tuple(passed[0][0].shape[1:])
    network = GuidedNetwork(pipe.model.network, *conditions, grid)
    ids, started = [], time.process_time()
    with torch.inference_mode():
        for (tokens, ratio), own in zip(passed, uniform, strict=True):
            cells = (tokens.flatten() == pipe.model.mask_id).nonzero().T
            ids.append(inverse_cdf(network.logits(tokens, ratio, cfg, cells), own[cells]).flatten())
    return torch.cat(ids), time.process_time() - started


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {"hardware": f"{in_short()}, batch 1", "prompts": options.prompts, "steps": options.steps}
    found["rows"] = measure(options.prompts, options.steps)
    text = json.dumps(found, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
