"""EditMGT of the golden tree, as bundles."""

import shutil
from functools import cache
from pathlib import Path

import mgt_core

from .device import HERE
from .golden import OWN
from .golden import ROOT as GOLDEN

ROOT = GOLDEN / "kin" / "editmgt"
PARTS = ("vqvae", "text_encoder", "tokenizer", "llm_encoder", "scheduler")


@cache
def edit_pipeline(variant: str = "editmgt") -> mgt_core.Pipeline:
    """With one of the two networks of the tree that golden tests compare with."""
    return mgt_core.load(ROOT, transformer=ROOT / variant, **HERE)


def editmgt_bundle(target: Path) -> Path:
    """As its repository has it."""
    for part in ("editmgt", *PARTS):
        shutil.copytree(OWN / "kin" / "editmgt" / part, target / part)
    return target


@cache
def own_pipeline() -> mgt_core.Pipeline:
    """The tiny one of the project's own tree."""
    folder = OWN / "kin" / "editmgt"
    return mgt_core.load(folder, transformer=folder / "editmgt", **HERE)
