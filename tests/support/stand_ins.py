"""Tiny models in the place of those that workflows name, with the sizes of picture they make."""

import shutil
from collections.abc import Callable
from pathlib import Path

from .bundles import (
    amused_bundle,
    copy_bundle,
    dimoo_bundle,
    halton_bundle,
    magnet_bundle,
    mmada_bundle,
    muddit_bundle,
    openmuse_bundle,
    showo_bundle,
)
from .editmgt import editmgt_bundle
from .encoders import clip_model
from .golden import bundles
from .judges import pick_judge


def halton(target: Path) -> None:
    file = halton_bundle(target.parent)
    for path in (file, file.with_suffix(".json")):
        path.rename(target.with_suffix(path.suffix))


def editmgt_of_64(target: Path) -> None:
    """Which stretches pictures to 64 pixels a side."""
    editmgt_bundle(target)
    (target / "model_index.json").write_text('{"sample_size": 64}')


NO_PICTURES = None, 0
# As the loader lists them -> what makes the stand-in there, and its side in pixels, 0 of sound.
STAND_INS: dict[str, tuple[Callable[[Path], object], int]] = {
    "ImageNet_384_large.pth": (halton, 16),
    "UnlockMGM_imagenet_256": (openmuse_bundle, 16),
    "amused-512": (amused_bundle, 128),
    "show-o": (showo_bundle, 64),
    "mmada": (mmada_bundle, 64),
    "lumina-dimoo": (dimoo_bundle, 64),
    "Meissonic": (lambda target: copy_bundle(target, bundles()[0]), 128),
    "muddit/1024": (muddit_bundle, 128),
    "maskfocus": (lambda target: shutil.copytree(bundles()[0] / "transformer", target), 128),
    "editmgt": (editmgt_of_64, 64),
    "magnet-medium-10secs": (magnet_bundle, 0),
}


def clip_file(target: Path) -> None:
    """The weights of a whole CLIP model, alone."""
    folder = clip_model(target.with_suffix(""))
    (folder / "model.safetensors").rename(target)


TEXT_ENCODERS: dict[str, Callable[[Path], object]] = {"CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": clip_file}


def make_text_encoders(folder: Path) -> dict[str, str]:
    """Every stand-in for a text encoder, as `make_stand_ins` has it."""
    for name, make in TEXT_ENCODERS.items():
        make(folder / name)
    return {name: str(folder / name) for name in TEXT_ENCODERS}


def make_stand_ins(folder: Path) -> dict[str, str]:
    """Every stand-in under `folder`; name in the loader -> what `mgt_core.load` takes."""
    for name, (make, _) in STAND_INS.items():
        make(folder / name)
    return {name: str(folder / name) for name in STAND_INS}


def make_scorers(folder: Path) -> None:
    """Every stand-in for a network that scores pictures, in the folder of its repository."""
    pick_judge(folder)
