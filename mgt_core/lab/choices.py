"""Truths and errors by name, at sizes that show what they are for: what the Laboratory node offers."""

from collections.abc import Callable
from functools import lru_cache

from ..errors import finite_number, lookup
from ..model import MGTModel
from .backbone import lab_model
from .chain import Chain, moving
from .codewords import Codewords
from .errors import LogitNoise, ModelError, Reach, Smoothed, WeakCondition, spoiled
from .potts import Potts, class_bias
from .quadtree import Quadtree
from .truth import Predictor, Truth


def _potts() -> Truth:
    return Potts((3, 3), codes=2, coupling=1.0, bias=class_bias((3, 3), 2, 0.2))


def _quadtree() -> Truth:
    return Quadtree(16, codes=16, stay=0.9, classes=4)


def _codewords() -> Truth:
    return Codewords((8, 8), codes=8, words=8, flip=0.2, classes=2)


def _chain() -> Truth:
    return Chain(32, moving(codes=8, kept=0.7, classes=4))


TRUTHS: dict[str, Callable[[], Truth]] = {
    "Potts field, 3 x 3": _potts,
    "quadtree, 16 x 16": _quadtree,
    "code words, 8 x 8": _codewords,
    "chain, 1 x 32": _chain,
}

# Each from its size, 0 for none to 1, and the truth that it is for.
ERRORS: dict[str, Callable[[float, Predictor], ModelError | None]] = {
    "none": lambda size, truth: None,
    "logit noise": lambda size, truth: LogitNoise(scale=2 * size),
    "smoothed predictions": lambda size, truth: Smoothed(share=0.5 * size),
    "near-sighted": lambda size, truth: Reach(
        cells=round((1 - size) * (max(truth.grid) - 1)), block=max(1, max(truth.grid) // 2)
    ),
    "class heeded too little": lambda size, truth: WeakCondition(heed=1 - size),
}


@lru_cache(maxsize=len(TRUTHS))
def truth_called(name: str) -> Truth:
    """Made once. Raises MGTError for a name that is none."""
    return lookup("truth", name, TRUTHS)()


def lab_choice(truth: str, error: str = "none", size: float = 0.5) -> MGTModel:
    """The model of a truth, spoiled by an error of a size from 0 (none) to 1. Raises MGTError for other values."""
    size = finite_number("error_size", size, 0, 1)
    exact = truth_called(truth)
    made = lookup("error", error, ERRORS)(size, exact)
    return lab_model(spoiled(exact, [made] if made and size else []))
