"""`python -m mgt_core quantize --overwrite`, killed whenever: the old or the new bundle, whole, its calibration too."""

from pathlib import Path

import torch

import mgt_core
from mgt_core.__main__ import main
from mgt_core.folders import recover
from support.golden import bundles
from support.saved import tree

KILLS = 4

torch.set_num_threads(1)
WHOLE: list[dict] = []


def quantize(folder: Path, *settings: str) -> dict:
    told = ["quantize", str(bundles()[0]), str(folder / "small"), "--device", "cpu", "--overwrite", *settings]
    assert main(told) == 0
    return tree(folder / "small")


def prepare(folder: Path) -> None:
    act(folder)
    WHOLE.append(tree(folder / "small"))
    WHOLE.insert(0, quantize(folder, "--scheme", "w8a16"))


def act(folder: Path) -> None:
    quantize(folder, "--scheme", "w4a8", "--steps", "1", "--states", "1", "--prompt", "a cat")


def check(folder: Path, finished: bool) -> None:
    recover(folder / "small")
    assert tree(folder / "small") in (WHOLE[1:] if finished else WHOLE), "neither the old nor the new bundle"
    mgt_core.load(folder / "small", device="cpu")
    act(folder)
    assert tree(folder) == {"small": "folder"} | {f"small/{name}": held for name, held in WHOLE[1].items()}
