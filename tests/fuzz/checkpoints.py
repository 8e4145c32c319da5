"""Bundles of every family with one thing to three spoiled in any of their files: each makes a finite picture, or is
refused in a sentence."""

import dataclasses
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import torch

import mgt_core
from mgt_core.loading.endings import SUFFIXES
from mgt_core.loading.networks import load_codec
from mgt_core.quantization.quantize import Quantized
from mgt_core.quantization.storage import save_weights
from mgt_core.self_guidance.files import FILE
from mgt_core.types import PICTURES
from support.bundles import amused_bundle, copy_bundle, halton_bundle, magnet_bundle, openmuse_bundle, shard_weights
from support.encoders import clip_model
from support.golden import bundles
from support.mutants import spoiled_file
from support.trials import refused

SHORT = 30
OUTCOMES = ("loaded", "refused")
Files = dict[str, bytes]
CPU = {"device": "cpu"}
CALIBRATION = "transformer/calibration.w4a8.json"
SHOWN = mgt_core.CalibrationRun(steps=1, states=1, cfg=2.0, grid=(2, 2))


def meissonic(folder: Path) -> Path:
    copy_bundle(folder, bundles()[-1])
    shard_weights(folder / "vqvae", 2)
    pipe = mgt_core.load(folder, **CPU)
    save_weights(mgt_core.fresh_branch(pipe.model.network), folder / FILE)
    return folder


def packed(folder: Path) -> Path:
    """Stored as "w4a8"."""
    pipe, found = quantized(bundles()[-1])
    mgt_core.save_bundle(dataclasses.replace(pipe, model=found.model), folder)
    return folder


def calibrated(folder: Path) -> Path:
    """With the calibration of "w4a8" beside the weights."""
    copy_bundle(folder, bundles()[-1])
    quantized(folder)[1].calibration.save(folder / CALIBRATION)
    return folder


def quantized(folder: Path) -> tuple[mgt_core.Pipeline, Quantized]:
    pipe = mgt_core.load(folder, **CPU)
    conditions = mgt_core.calibration_conditions(pipe.model, pipe.text, ["a cat"])
    return pipe, mgt_core.quantize(pipe.model, "w4a8", *conditions, SHOWN)


def whole_clip(folder: Path) -> Path:
    copy_bundle(folder, bundles()[0])
    shutil.rmtree(folder / "text_encoder")
    clip_model(folder / "text_encoder")
    words = mgt_core.load_text_encoder(folder / "text_encoder", **CPU).tokenizer
    words.save_pretrained(folder / "tokenizer")  # a tokenizer.json, or what else transformers writes
    return folder


BUILT = {
    "meissonic": meissonic,
    "packed": packed,
    "calibrated": calibrated,
    "whole_clip": whole_clip,
    "openmuse": lambda folder: openmuse_bundle(folder, pickled=False),
    "openmuse_pickled": openmuse_bundle,
    "halton": halton_bundle,
    "amused": amused_bundle,
    "magnet": magnet_bundle,
}


@cache
def families() -> dict[str, tuple[str, Files]]:
    """What `load` takes of each bundle, as a path within, and its files."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name, build in BUILT.items():
            source = build(Path(place) / name / "bundle")
            folder = Path(place) / name / "bundle"
            files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
            found[name] = str(Path(source).relative_to(folder)), files
    return found


def get_ready() -> None:
    """All that a trial imports, and what it spoils."""
    with tempfile.TemporaryDirectory() as place:
        for name, (inner, files) in families().items():
            tried(name, write(Path(place) / name, files) / inner, Random(0))


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def trial(seed: int, folder: Path) -> str:
    random = Random(seed)
    name = random.choice(list(BUILT))
    inner, files = families()[name]
    files = dict(files)
    for _ in range(random.choice((1, 1, 2, 3))):
        spoil(random, files)
    write(folder, files)
    parts = [path for path in sorted(folder.iterdir()) if path.is_dir() or path.suffix in SUFFIXES]
    try:
        if random.random() < 0.1:
            alone(random.choice(parts), random)
        else:
            picture = tried(name, folder / inner, random)
            assert bool(picture.isfinite().all()), "the picture is not finite"
    except mgt_core.MGTError as error:
        return refused(error)
    return "loaded"


def alone(part: Path, random: Random) -> None:
    """A part of a bundle as what it may be, or as what it is not."""
    if random.random() < 0.5:
        mgt_core.load_text_encoder(part, **CPU).encode("a cat")
    else:
        codec = load_codec(part, torch.float32, torch.device("cpu"))
        shape = (1, 2 * codec.scale, 2 * codec.scale, 3) if codec.makes == PICTURES else (1, 1, 100)
        codec.decode(codec.encode(torch.full(shape, random.random())))


def spoil(random: Random, files: Files) -> None:
    """A file, chosen among the small ones as often as among the large."""
    name = random.choice(list(files))
    change = random.random()
    if change < 0.03:
        del files[name]
    elif change < 0.06:
        files[name] = files[random.choice(list(files))]
    else:
        files[name] = spoiled_file(random, name, files[name])


def tried(name: str, source: Path, random: Random) -> torch.Tensor:
    """A small picture, by a step or two."""
    kept = name == "calibrated" and (source / CALIBRATION).is_file()  # else it would be calibrated anew
    how = {"quantization": "w4a8"} if kept else {}
    pipe = mgt_core.load(source, dtype=random.choice((torch.float32, torch.bfloat16)), **how, **CPU)
    model = pipe.model
    if pipe.text is None:
        condition = mgt_core.Condition(labels=torch.tensor([1]))
    else:
        condition = pipe.text.encode(random.choice(("a red cat", "", "caf\u00e9 \U0001f600 don't " * 40)))
        states = [held for held in (condition.hidden, condition.pooled) if held is not None]
        assert all(bool(held.isfinite().all()) for held in states), "states are not finite"
    if name == "meissonic" and random.random() < 0.5:
        model = model.with_self_guidance(mgt_core.load_branch(source, model.network))
    if model.in_stages:
        grid = (len(model.stage_shares), random.choice((6, 7)))
        state = mgt_core.empty_state(1, grid, model.mask_id, model.codebook_size)
        made = mgt_core.sample(model, state, condition, condition, steps=random.choice((grid[0], 6)), cfg=3.0)
        return pipe.codec.decode(made)
    side = model.grid_multiple * 2
    grid = model.network.trained_grid if model.network.only_trained_grid else (side, side)
    state = mgt_core.empty_tokens(pipe, *(side * pipe.codec.scale for side in grid), 1)
    sampler = {"sampler": "maskgit", "schedule": "cosine"} if random.random() < 0.5 else {}
    steps = random.choice((1, 2))
    state = mgt_core.sample(model, state, condition, condition, steps=steps, cfg=random.choice((1.0, 3.0)), **sampler)
    return pipe.codec.decode(state)
