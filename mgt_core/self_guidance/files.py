"""Where the branch of Self-Guidance lies, and reading it."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

import torch

from ..backbones.base import Backbone
from ..backbones.branch import FACTOR, TENSORS, Branch, branch_class
from ..errors import MGTError
from ..loading.layouts import find_bundle, find_parts, remembered
from ..loading.materialize import materialize
from ..loading.weights import index_weights

FILE = "self_guidance.safetensors"  # of a bundle


def load_branch(source: str | Path, network: Backbone) -> Branch:
    """The branch for `network` from a weight file; from a transformer's folder; or from a bundle (what
    `mgt_core.load` takes): its FILE, else the weights of its transformer, where UnlockMGM's are.

    Raises MGTError when there is none, or it is for another network."""
    place = branch_place(source)
    stored = {name: entry for name, entry in index_weights(place, holds_branch).items() if name.startswith(TENSORS)}
    if not stored:
        raise MGTError(
            f"{place} holds no Self-Guidance branch (cls_anchor_gen, decoders, top_down_transform); "
            "train one with python -m mgt_core train-guidance"
        )
    mix = stored.get("cls_anchor_gen.mlp_f.weight")
    factor = mix.shape[-1] if mix is not None and mix.shape else FACTOR
    build = partial(branch_class(network).for_network, network, factor)
    return materialize(build, stored, place, torch.float32, torch.device("cpu"))


def holds_branch(names: Collection[str]) -> bool:
    return any(name.startswith(TENSORS) for name in names)


def branch_place(source: str | Path) -> Path:
    """File or folder of weights that would hold the branch of `source`."""
    path = find_bundle(source)
    if path.is_file() or (path / "config.json").is_file():
        return path
    return path / FILE if (path / FILE).is_file() else find_parts(path, remembered)[0].path
