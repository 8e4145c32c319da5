"""Examples gathered and a branch trained, killed whenever: the next run ends as one that nobody killed."""

from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.backends import backend_agg  # noqa: F401 as the plot does, and not once a copy
from PIL import Image
from safetensors.torch import load_file

import mgt_core
from mgt_core.self_guidance.examples import gather_examples, load_examples
from mgt_core.self_guidance.training import TrainingSettings, train
from support.golden import bundles

KILLS = 4
STEPS = TrainingSettings(steps=2, batch=3, rate=1e-2, save_every=0.0)
ENDINGS = ("safetensors", "state", "png", "examples")

torch.set_num_threads(1)
PIPE = mgt_core.load(bundles()[0], device="cpu")
PIPE = replace(PIPE, size=(4 * PIPE.model.pixels_per_token,) * 2)
UNDISTURBED: dict[str, torch.Tensor] = {}


def prepare(folder: Path) -> None:
    (folder / "data").mkdir()
    for shade in (0, 90, 200):
        Image.new("RGB", (16, 16), (shade, shade, shade)).save(folder / "data" / f"{shade}.png")
        (folder / "data" / f"{shade}.txt").write_text(f"shade {shade}")
    act(folder)
    UNDISTURBED.update(load_file(folder / "out" / "branch.safetensors"))
    for file in (folder / "out").iterdir():
        file.unlink()


def act(folder: Path) -> None:
    out = folder / "out" / "branch.safetensors"
    train(PIPE, gather_examples(str(folder / "data"), PIPE, out.with_suffix(".examples"), 10), out, STEPS)


def check(folder: Path, finished: bool) -> None:
    branch, state, png, kept = ((folder / "out" / "branch").with_suffix(f".{ending}") for ending in ENDINGS)
    if kept.exists():
        assert len(load_examples(kept)) == 3
    if state.exists():
        assert torch.load(state, weights_only=True)["step"] in ((2,) if finished else (1, 2))
    if branch.exists():
        mgt_core.load_branch(branch, PIPE.model.network)
    act(folder)
    trained = load_file(branch)
    assert all(torch.equal(trained[name], value) for name, value in UNDISTURBED.items()), "another branch"
    assert Image.open(png).size == (800, 400)
    assert {path.name for path in (folder / "out").iterdir()} == {f"branch.{ending}" for ending in ENDINGS}
