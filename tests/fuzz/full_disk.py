"""What is saved on a disk that fills up: one sentence, and what was there before is as it was."""

import random
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.backends import backend_agg  # noqa: F401 as the plot does, and not once a copy

from mgt_core import save_bundle
from mgt_core.quantization.calibration import Calibration
from mgt_core.quantization.layers import Treatment
from mgt_core.self_guidance.examples import Examples
from mgt_core.self_guidance.training import TrainingSettings, train
from support.children import DONE, FAULT, begin, end
from support.saved import tree, variant

SHORT = 16
OUTCOMES = ("refused", "written")

torch.set_num_threads(1)
OLD, NEW = variant(1), variant(2)
TOKENS = torch.randint(8, (6, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
EXAMPLES = Examples(TOKENS, captions=("a picture",) * 6)
STEPS = TrainingSettings(steps=1, batch=3, rate=1e-3, save_every=0.0)


def bundle(folder: Path, again: bool) -> None:
    save_bundle(NEW if again else OLD, folder / "mine", overwrite=True)


def calibration(folder: Path, again: bool) -> None:
    treatment = Treatment("static", (1.0,), (0.5,))
    Calibration("w4a8", {f"layer.{i}": treatment for i in range(400 if again else 4)}).save(folder / "calibration")


def examples(folder: Path, again: bool) -> None:
    Examples(TOKENS.repeat(100 if again else 1, 1, 1), captions=("a",) * (600 if again else 6)).save(folder / "kept")


def training(folder: Path, again: bool) -> None:
    train(OLD, EXAMPLES, folder / "branch.safetensors", replace(STEPS, steps=2) if again else STEPS)


LARGEST = {bundle: 1_600_000, calibration: 40_000, examples: 43_000, training: 470_000}  # bytes of a file, about


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    work = draws.choice(list(LARGEST))
    is_there = draws.random() < 0.7
    if is_there:
        work(folder, False)
    before = tree(folder)
    fate = end(begin(lambda: work(folder, True), draws.randrange(int(1.2 * LARGEST[work]))))
    assert fate != FAULT, f"a traceback of {work.__name__}"
    if fate != DONE and work is training:  # of its files, any may have been the first that was too large
        assert {name.rpartition(".")[0] for name in tree(folder)} <= {"branch"}, "something is left over"
        work(folder, True)
        at_once = folder / "at_once"
        at_once.mkdir()
        if is_there:
            work(at_once, False)
        work(at_once, True)
        ended, wanted = tree(folder), tree(at_once)
        name = "branch.safetensors"
        assert ended[name] == wanted[name], "another branch"
    elif fate != DONE:
        assert tree(folder) == before, "what was there has changed"
    return "written" if fate == DONE else "refused"
