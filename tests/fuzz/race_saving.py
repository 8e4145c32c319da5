"""Three processes that save one name, one of them perhaps killed: one whole bundle lies there, and nothing else."""

import random
import time
from functools import partial
from pathlib import Path

import torch

from mgt_core import save_bundle
from mgt_core.folders import recover
from support.children import DONE, FAULT, begin, end
from support.saved import tree, variant

SHORT = 16
OUTCOMES = ("the first",)

torch.set_num_threads(1)
PIPES = [variant(number) for number in range(4)]
WHOLE: list[dict] = []  # what each of them is, file by file


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    place, overwrite, is_there, kills = folder / "mine", *(draws.random() < 0.5 for _ in range(3))
    WHOLE.extend(tree(save_bundle(pipe, folder / "whole", overwrite=True)) for pipe in PIPES[len(WHOLE) :])
    if is_there:
        save_bundle(PIPES[0], place)

    def save(number: int, late: float) -> None:
        time.sleep(late)
        save_bundle(PIPES[number], place, overwrite)

    late = [draws.choice((0, draws.uniform(0, 0.1))) for _ in range(3)]
    processes = [begin(partial(save, number, late[number - 1])) for number in (1, 2, 3)]
    fates = [end(process, draws.uniform(0, 0.15) if kills and not i else None) for i, process in enumerate(processes)]
    assert FAULT not in fates, f"a traceback: {fates}"

    recover(place)
    possible = [WHOLE[i] for i, fate in enumerate(fates, 1) if fate != 1 or overwrite] + WHOLE[:1] * is_there
    if is_there and not overwrite:
        assert DONE not in fates and tree(place) == WHOLE[0]
    elif place.exists():
        assert tree(place) in possible, "no whole bundle"
        assert overwrite or fates.count(DONE) <= 1, f"{fates.count(DONE)} processes saved one name"
    else:
        assert DONE not in fates, "what was saved is gone"
    save_bundle(PIPES[1], folder / "whole", overwrite=True)
    assert {path.name for path in folder.iterdir()} <= {"mine", "whole"}, "something is left over"
    saved = fates.count(DONE)
    return "none" if not saved else "the first" if saved == 1 else f"{saved} in turn"
