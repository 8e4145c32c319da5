"""Meissonic at full size, random weights: bytes on disk and in memory, error of the layers, and peak memory of a run.

    python -m bench.quantization.full_size [--folder DIR] [--steps 1] [--json FILE]

Takes about 5 GB of disk and 6 GB of memory. The weights are random with the spread of trained ones: rows of
different size, and a few input channels many times larger. Nothing is calibrated: which layers take int8
inputs, and their scales, come from random inputs, which changes neither bytes nor peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import mgt_core
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.loading.networks import load_backbone
from mgt_core.quantization.calibration import Calibration
from mgt_core.quantization.layers import packed_layers, stored_bytes
from mgt_core.quantization.observers import Watch
from mgt_core.quantization.quantize import apply, layers_of, treatments
from mgt_core.quantization.schemes import FP8, W4A8, W8A8, Scheme, planned
from mgt_core.quantization.storage import WEIGHTS, save_weights
from recipe.files import write_json

from ..hardware import in_short
from ..speed.bundle import FULL
from .outliers import inputs_of, write_network

CONFIG = FULL.transformer
FLOAT = "bfloat16"
CASES: dict[str, Scheme] = {
    "w4a8": W4A8(),
    "w4a8, modulation 16 bit": W4A8(keep=("modulation",)),
    "w8a8": W8A8(),
    "fp8": FP8(),
}
TEXT, GRID = 77, (64, 64)


def pack(source: Path, target: Path, scheme: Scheme) -> dict:
    """Quantize the network of `source` into `target`; sizes, and the error of every layer on random inputs."""
    network = load_backbone(source, torch.bfloat16, torch.device("cpu"))
    model = mgt_core.MGTModel(network, pixels_per_token=16)
    before, generator = stored_bytes(network), torch.Generator().manual_seed(1)
    layers = layers_of(model, scheme)
    watches = {name: Watch(scheme.rotation(layer)) for name, layer in layers.items()}
    inputs, outputs = {}, {}
    for name, layer in layers.items():
        inputs[name] = inputs_of(layer, generator)
        outputs[name] = layer(inputs[name].bfloat16()).float()
        watches[name].see(inputs[name], outputs[name], None)
    kinds = treatments(watches, scheme)
    packed = apply(model, scheme, Calibration(repr(scheme), kinds)).network
    errors, by_name = [], packed_layers(packed)
    for name in layers:
        found = by_name[name](inputs[name])
        errors.append(float((found - outputs[name]).norm() / outputs[name].norm()))
    target.mkdir()
    write_json(target / "config.json", CONFIG)
    save_weights(packed, target / WEIGHTS, scheme)
    errors.sort()
    return {
        "memory_before_gb": before / 1e9,
        "memory_gb": stored_bytes(packed) / 1e9,
        "disk_gb": (target / WEIGHTS).stat().st_size / 1e9,
        "layers": len(layers),
        "layer_error_median": errors[len(errors) // 2],
        "layer_error_worst": errors[-1],
    }


def run(folder: Path, steps: int) -> dict:
    """Load and sample at 1024 px; the peak of this process is what counts."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = load_backbone(folder, torch.bfloat16, torch.device("cpu"))
    model = mgt_core.MGTModel(network, pixels_per_token=16)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.Generator().manual_seed(0)
    positive, negative = (
        mgt_core.Condition(
            hidden=torch.randn(1, TEXT, 1024, generator=generator), pooled=torch.randn(1, 1024, generator=generator)
        )
        for _ in range(2)
    )
    state = mgt_core.empty_state(1, GRID, model.mask_id, model.codebook_size)
    out = mgt_core.sample(model, state, positive, negative, steps=steps, cfg=9.0, seed=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "start_gb": start * 1024 / 1e9,
        "loaded_gb": loaded * 1024 / 1e9,
        "peak_gb": peak * 1024 / 1e9,
        "filled": not bool(out.masked.any()),
    }


def counted() -> dict[str, float]:
    """GB of the transformer by scheme, from the shapes alone."""
    with torch.device("meta"):
        network = MeissonicTransformer(MeissonicConfig.from_dict(CONFIG)).to(torch.bfloat16)
    sizes = {name: stored_bytes(planned(network, scheme, network.unquantized)) for name, scheme in CASES.items()}
    return {name: size / 1e9 for name, size in {FLOAT: stored_bytes(network), **sizes}.items()}


def child(task: str, *arguments: str) -> dict:
    """The task in a process of its own, whose peak memory is its own."""
    command = [sys.executable, "-m", "bench.quantization.full_size", "--task", task, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the weights are kept; a temporary one by default")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=["w4a8"], help="cases that are packed and written")
    parser.add_argument("--peak", nargs="*", default=["w4a8"], help="cases whose run is measured beside bfloat16's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task, *paths = options.task
        with torch.no_grad():
            if task == "pack":
                print(json.dumps(pack(Path(paths[0]), Path(paths[1]), CASES[paths[2]])))
            else:
                print(json.dumps(run(Path(paths[0]), int(paths[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        source = folder / FLOAT
        if not source.exists():
            write_network(source, CONFIG)
        report = {
            "hardware": in_short(),
            "steps": options.steps,
            "counted_gb": counted(),
            "sizes": {},
            "peak": {},
        }
        for number, name in enumerate(options.only):
            target = folder / f"packed-{number}"
            report["sizes"][name] = child("pack", str(source), str(target), name)
            print(name, json.dumps(report["sizes"][name]), flush=True)
        for name in [FLOAT, *options.peak]:
            place = source if name == FLOAT else folder / f"packed-{options.only.index(name)}"
            report["peak"][name] = child("run", str(place), str(options.steps))
            print(name, json.dumps(report["peak"][name]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
