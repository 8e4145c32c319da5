"""The truths of the laboratory's report, how many pictures each is judged by, and the errors that are put in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from mgt_core.lab.codewords import Codewords
from mgt_core.lab.errors import LogitNoise, ModelError, Reach, Smoothed, WeakCondition, WrongTarget, spoiled
from mgt_core.lab.potts import Potts
from mgt_core.lab.quadtree import Quadtree
from mgt_core.lab.truth import Predictor, Truth

STAY = (0.92, 0.9, 0.87, 0.74)  # found so that the figures of a prototype come out, whose own are not recorded
TREE, CLASSES, FIELD, WEAK_FIELD, WORDS = "tree", "tree of classes", "field", "weak field", "words"
EXACT, NOISE, SMOOTH, BLIND, WEAK, TARGET = "exact", "noise", "smoothed", "blind", "weak condition", "wrong target"


def preferences(strength: float) -> torch.Tensor:
    """A lasting preference of every cell, [1, 9, 2]."""
    return strength * torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Model:
    """told: the truth in words. pictures: of every case. blind: what of the others a cell sees where it does not see
    all."""

    told: str
    make: Callable[[], Truth]
    pictures: int
    blind: Reach


MODELS: Mapping[str, Model] = {
    TREE: Model(
        f"a quadtree of 16 × 16 cells and 16 codes, a child keeping its parent's code with probability {STAY} from the "
        "root down",
        lambda: Quadtree(16, 16, STAY),
        512,
        Reach(1, block=8),
    ),
    CLASSES: Model(
        "the same with four classes, each of which draws the root's code from four",
        lambda: Quadtree(16, 16, STAY, classes=4),
        256,
        Reach(1, block=8),
    ),
    FIELD: Model(
        "a Potts field of 3 × 3 cells and 2 codes, coupling 1, every cell with a preference of its own (normal, 0.32)",
        lambda: Potts((3, 3), 2, 1.0, preferences(0.32)),
        16384,
        Reach(1),
    ),
    WEAK_FIELD: Model(
        "the same with coupling 0.25", lambda: Potts((3, 3), 2, 0.25, preferences(0.32)), 32768, Reach(1)
    ),
    WORDS: Model(
        "8 random words of 8 × 8 cells and 8 codes, in which a fifth of the cells is drawn anew; 8 more are of another "
        "class",
        lambda: Codewords((8, 8), 8, words=16, flip=0.2, classes=2),
        2048,
        Reach(1, block=4),
    ),
}
ERRORS: Mapping[str, Callable[[Model], tuple[ModelError, ...]]] = {
    EXACT: lambda model: (),
    NOISE: lambda model: (LogitNoise(0.5),),
    SMOOTH: lambda model: (Smoothed(0.1),),
    BLIND: lambda model: (model.blind,),
    WEAK: lambda model: (WeakCondition(0.5),),
    TARGET: lambda model: (WrongTarget(0.5),),
}
FOUR = (EXACT, NOISE, SMOOTH, BLIND)


@lru_cache
def truth_of(model: str) -> Truth:
    return MODELS[model].make()


@lru_cache
def predictor_of(model: str, error: str) -> Predictor:
    return spoiled(truth_of(model), ERRORS[error](MODELS[model]))
