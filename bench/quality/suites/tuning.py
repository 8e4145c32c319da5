"""How many true tokens the completion suite keeps: `python -m bench.quality.suites.tuning [--model DIR]`

Chosen on scenes that the evaluation does not use, such that vanilla completes 50 to 60 % of the objects rightly; to be
chosen again for other weights. Writes tuned.json beside this file.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import mgt_core
from recipe.judge.pictures import model_settings
from recipe.judge.scores import share

from ..cases import VANILLA
from ..decoding import Case
from ..work import fingerprint
from .choices import base
from .completion import TUNED, Completion
from .figures import completed
from .store import Chunks, jobs, work

AIM, NEAR, MOST = 0.55, 0.04, 48


def choose(rightly: Callable[[int], float]) -> int:
    """The number of tokens whose share of right objects is nearest to the aim, or the first found that is near enough.
    `rightly` rises with its argument."""
    low, high = 0, MOST
    found: dict[int, float] = {}
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = rightly(middle)
        if abs(found[middle] - AIM) <= NEAR:
            return middle
        low, high = (middle, high) if found[middle] < AIM else (low, middle)
    return min(found, key=lambda kept: abs(found[kept] - AIM))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.quality.suites.tuning", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument("--into", type=Path, default=TUNED)
    options = parser.parse_args()
    pipe = mgt_core.load(options.model, dtype=torch.float32)
    settings, model, shares = base(model_settings(pipe)), fingerprint(pipe), {}

    def rightly(kept: int) -> float:
        suite = Completion(settings, kept, tuning=True)
        wanted = jobs(suite, Case(VANILLA), options.scenes)
        with tempfile.TemporaryDirectory() as folder:
            chunks = Chunks(Path(folder), model)
            work(pipe, wanted, chunks)
            images = chunks.all_of(wanted).images
        right = completed(suite.scenes(0, len(images)), images).right
        shares[kept] = share(int(right.sum()), len(right))
        print(f"{kept} tokens kept: {shares[kept]}", flush=True)
        return shares[kept]["share"]

    kept = choose(rightly)
    found = {"kept": kept, "vanilla": shares[kept], "model": model, "tried": dict(sorted(shares.items()))}
    options.into.write_text(json.dumps(found, indent=1) + "\n")
    print(f"kept: {kept}")


if __name__ == "__main__":
    main()
