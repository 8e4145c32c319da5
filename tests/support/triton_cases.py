"""The Triton kernels where the suite computes, on a CPU through Triton's interpreter, which has to be chosen before
Triton is imported: run as a program of its own. Prints, by case, by how many roundings of its type a result is off at
the most."""

import json
import os
import sys

import torch

from mgt_core.kernels import block
from mgt_core.kernels.streams import Stream
from support.device import DEVICE, ON_CPU

EPS = 1e-6
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDTHS = [(1, 1, 16), (2, 5, 48), (3, 7, 64), (2, 3, 1024)]  # samples, rows, channels
# Samples, rows of each stream, heads, their width, whether every sample has a table of its own.
ROTATIONS = [
    (1, (1,), 1, 16, False),
    (2, (5,), 3, 32, True),
    (2, (3, 4), 8, 128, False),
    (3, (2, 9), 5, 64, True),
    (2, (7, 1), 2, 32, False),
]


def rounded(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The most roundings that `found` is off from `exact` float64: half a unit in the last place is one, and an error
    as float32 has it within is none."""
    one = torch.finfo(found.dtype).eps / 2 * exact.abs() + 1e-5
    return float(((found.double() - exact).abs() / one).max())


def norm(x: torch.Tensor) -> torch.Tensor:
    x = x.double() - x.double().mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()


def modulated(x: torch.Tensor, by: block.Modulations, place: int) -> torch.Tensor:
    return norm(x) * (1 + by.scale(place).double()) + by.shift(place).double()


def modulations(kernels, samples: int, rows: int, width: int, dtype: torch.dtype) -> dict[str, float]:
    x, y = (torch.randn(samples, rows, width).to(dtype) for _ in range(2))
    by = block.Modulations(torch.randn(samples, 6 * width).to(dtype), 2)
    alone = kernels.modulate(x, by.scale(1), by.shift(1), EPS)
    total, after = kernels.gated_and_modulated(x, by.gate(0), y, by.scale(1), by.shift(1), EPS)
    return {
        "modulate": rounded(alone, modulated(x, by, 1)),
        "gated": rounded(total, x.double() + by.gate(0).double() * y.double()),
        "gated and modulated": rounded(after, modulated(total, by, 1)),
    }


def rotation(kernels, samples: int, rows: tuple[int, ...], heads: int, width: int, own: bool, dtype) -> float:
    streams = [
        Stream(torch.randn(samples, n, 3, heads, width).to(dtype), *(1 + 0.2 * torch.randn(2, width)).to(dtype))
        for n in rows
    ]
    angles = 6 * torch.rand(*([samples] if own else []), sum(rows), width // 2)
    table = block.rotary_table(angles.cos(), angles.sin())
    exact = block.together([Stream(*(part.double() for part in stream)) for stream in streams], table.double())
    found = kernels.joined(streams, table, EPS)
    assert all(ours.dtype == dtype and ours.shape == whole.shape for ours, whole in zip(found, exact, strict=True))
    return max(rounded(ours, whole) for ours, whole in zip(found, exact, strict=True))


def network(kernels) -> float:
    """Largest difference of the logits of a tiny network by these kernels and without them."""
    from mgt_core import Condition
    from support.golden import bundles, pipeline

    pipe = pipeline(bundles()[0])
    widths = pipe.model.network.condition_widths
    condition = Condition(hidden=torch.randn(2, 4, widths["hidden"]), pooled=torch.randn(2, widths["pooled"]))
    tokens = torch.randint(pipe.model.codebook_size, (2, 6, 8))
    plain, calls = pipe.model.logits(tokens, condition, 3), []
    block.own = lambda x: calls.append(x) or kernels
    ours = pipe.model.logits(tokens, condition, 3)
    assert calls
    return float((ours - plain).abs().max() / plain.abs().max())


def main() -> dict[str, float]:
    from mgt_core.kernels import triton_block as kernels

    torch.manual_seed(0)
    torch.set_default_device(DEVICE)
    kernels.try_out(DEVICE)
    found = {"network": network(kernels)}
    block.own = lambda x: None
    for name, dtype in TYPES.items():
        for sizes in WIDTHS:
            found |= {f"{key} {sizes} {name}": off for key, off in modulations(kernels, *sizes, dtype).items()}
        found |= {f"joined {case} {name}": rotation(kernels, *case, dtype) for case in ROTATIONS}
    return found


if __name__ == "__main__":
    assert ON_CPU == (os.environ.get("TRITON_INTERPRET") == "1")
    with torch.inference_mode():
        json.dump(main(), sys.stdout)
