"""Saving over an older bundle: killed whenever, the old or the new one is there whole, and the next save succeeds."""

from pathlib import Path

import torch

from mgt_core import save_bundle
from mgt_core.folders import NEW as ASIDE
from mgt_core.folders import beside, recover
from support.saved import number_of, tree, variant

KILLS = 12

torch.set_num_threads(1)
OLD, NEW = variant(1), variant(2)
WHOLE: list[dict] = []  # what the old and the new bundle are, file by file


def prepare(folder: Path) -> None:
    for pipe in (NEW, OLD):
        WHOLE.insert(0, tree(save_bundle(pipe, folder / "mine", overwrite=True)))


def act(folder: Path) -> None:
    save_bundle(NEW, folder / "mine", overwrite=True)


def check(folder: Path, finished: bool) -> None:
    mine, next_one = folder / "mine", folder / "another"
    assert mine.exists() or tree(beside(mine, ASIDE)) == WHOLE[1], "put aside before the new one was whole"
    if len(list(folder.iterdir())) % 2:
        recover(mine)  # who loads it next comes by here
    else:
        save_bundle(OLD, next_one)  # or somebody saves beside it
    assert tree(mine) in (WHOLE[1:] if finished else WHOLE), "neither the old nor the new bundle"
    assert number_of(mine) in (1, 2)
    save_bundle(NEW, mine, overwrite=True)
    assert tree(mine) == WHOLE[1] and {path.name for path in folder.iterdir()} <= {"mine", "another"}
