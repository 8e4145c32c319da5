"""What the number format of a decode does to pictures, and what it costs.

    python -m bench.speed.decode [--size 256] [--device DEVICE] [--repeats 2] [--json FILE]

Of the built-in codec on the recipe's pictures, and of one of the published size with random weights on random tokens.
PSNR is to float32's pictures. What the device does not have is rounded to in float32 ("emulated"): its PSNR can be
told, its time cannot. Formats take turns, and time is the least of the repeats, over float32's.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import mgt_core
from mgt_core.codecs.base import Codec
from mgt_core.codecs.vqmodel import VQModelCodec
from mgt_core.placement import pick_device
from recipe.data.scenes import evaluation_scenes
from recipe.data.subjects import load_subjects
from recipe.judge.pictures import render

from ..hardware import PeakMemory, in_short, synchronize
from ..markdown import table
from .bundle import FULL, TINY, random_weight
from .rounding import RoundedConvolutions, RoundedResults, tf32, tf32_cut

TENSOR_CORES = (8, 0)  # compute capability since which TF32 and bfloat16 are there
MINIMUM = 1e-20  # of a mean square: 200 dB


@dataclass(frozen=True)
class Format:
    """dtype: of weights and maps. exact: see Codec.decode. around: what rounds where the device does not have it."""

    dtype: torch.dtype = torch.float32
    exact: bool = True
    around: Callable[[], AbstractContextManager] | None = None

    def of(self, codec: Codec) -> Codec:
        if self.dtype == torch.float32:
            return codec
        return replace(codec, network=nn.Module.to(copy.deepcopy(codec.network), dtype=self.dtype))


def formats(device: torch.device) -> dict[str, Format]:
    """By name, float32 first."""
    gpu = device.type == "cuda"
    found = {"float32": Format()}
    if gpu and torch.cuda.get_device_capability(device) >= TENSOR_CORES:
        found["TF32"] = Format(exact=False)
    else:
        found["TF32, rounded"] = Format(around=lambda: RoundedConvolutions(tf32))
        found["TF32, cut off"] = Format(around=lambda: RoundedConvolutions(tf32_cut))
    found["bfloat16"] = Format(torch.bfloat16)
    half = Format(torch.float16) if gpu else Format(around=lambda: RoundedResults(torch.float16))
    return found | {"float16": half}


def random_codec(vqvae: dict, device: torch.device, seed: int = 0) -> Codec:
    """A VQModel of these sizes with weights as bench.speed.bundle has them."""
    with torch.device("meta"):
        network = VQModelCodec.build(vqvae, {})
    generator = torch.Generator().manual_seed(seed)
    weights = {name: random_weight(name, like.shape, generator) for name, like in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return VQModelCodec(nn.Module.to(network.eval().requires_grad_(False), device))


def picture_tokens(codec: Codec, size: int) -> Tensor:
    """Ids [1, h, w] of the recipe's pictures beside each other."""
    side = -(-size // mgt_core.load("demo", device="cpu").size[0])
    pictures = torch.as_tensor(render(evaluation_scenes(load_subjects(), side**2))).unflatten(0, (side, side))
    whole = pictures.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    return codec.encode(whole[None, :size, :size].float())


def psnr(image: Tensor, wanted: Tensor) -> float | None:
    """In dB, of values in 0..1; None where a value is none."""
    square = float((image - wanted).square().mean(dtype=torch.float64))
    return -10 * math.log10(max(square, MINIMUM)) if math.isfinite(square) else None


def measure(codec: Codec, tokens: Tensor, device: torch.device, repeats: int) -> dict[str, dict]:
    """Figures by format."""
    rows: dict[str, dict] = {}
    exact: Tensor | None = None
    for _ in range(repeats):
        for name, form in formats(device).items():
            converted, memory = form.of(codec), PeakMemory(device)
            started = time.perf_counter()
            with form.around() if form.around else nullcontext():
                image = converted.decode(tokens, exact=form.exact)
            synchronize(device)
            seconds, peak = time.perf_counter() - started, memory.read()
            exact = image if exact is None else exact
            row = rows.setdefault(name, {"psnr": psnr(image, exact), "emulated": form.around is not None})
            if not row["emulated"]:
                row["seconds"] = min(seconds, row.get("seconds", math.inf))
                row["peak_bytes"] = peak
    for row in rows.values():
        if "seconds" in row:
            row["time_over_float32"] = row["seconds"] / rows["float32"]["seconds"]
    return rows


def markdown(report: dict) -> str:
    def cells(codec: str, name: str, row: dict) -> list[str]:
        distance = "–" if name == "float32" else "not finite" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
        if row["emulated"]:
            return [codec, name, distance, "–", "–"]
        peak = row["peak_bytes"]
        return [codec, name, distance, f"{row['time_over_float32']:.2f}", f"{peak / 2**20:.0f} MiB" if peak else "–"]

    rows = [cells(codec, name, row) for codec, found in report["codecs"].items() for name, row in found.items()]
    return table("Codec | Format | PSNR | Time over float32 | Memory beside the weights", rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.speed.decode", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--tiny", action="store_true", help="a few thousand random weights: does it all work?")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    device = pick_device(options.device)
    report = {"hardware": f"{in_short()}, batch 1", "device": str(device), "size": options.size, "codecs": {}}
    drawn = mgt_core.load("demo", dtype=torch.float32, device=device).codec
    random = random_codec((TINY if options.tiny else FULL).vqvae, device)
    side = options.size // random.scale
    ids = torch.randint(random.codebook_size, (1, side, side), generator=torch.Generator().manual_seed(0))
    for name, codec, tokens in (
        ("built-in", drawn, picture_tokens(drawn, options.size)),
        ("random, " + ("tiny" if options.tiny else "published size"), random, ids),
    ):
        codec.decode(tokens)  # warm-up
        report["codecs"][name] = measure(codec, tokens, device, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))


if __name__ == "__main__":
    main()
