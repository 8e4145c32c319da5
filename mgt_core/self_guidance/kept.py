"""What a training leaves: OUT.state, with which it goes on, and what is made of that, the branch and a plot."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..backbones.branch import Branch
from ..errors import MGTError
from ..files import replace_file, system_reason, writing, written_whole
from .identity import check_same

FORMAT = "self-guidance"  # in the metadata of a branch
BETAS = (0.9, 0.96)
FREE = {"steps", "save_every"}  # settings on which the way that a training takes does not depend
STAYS = "what was saved before stays; make room or name another --out, and start again"
log = logging.getLogger(__name__)


class Kept:
    """A branch in training, its averages, the optimizer and the losses [(restoration, variation), ...] of its steps.

    out: where the branch is to lie. made: what the training depends on beside the number of steps."""

    def __init__(self, branch: Branch, rate: float, out: Path, made: Mapping[str, Any]):
        self.branch, self.out, self.file, self.made = branch, out, out.with_suffix(".state"), dict(made)
        names, self.weights = zip(*branch.named_parameters(), strict=True)
        self.averages = {name: weight.detach().clone() for name, weight in zip(names, self.weights, strict=True)}
        self.optimizer = torch.optim.Adam(self.weights, lr=rate, betas=BETAS)
        self.curve: list[tuple[float, float]] = []

    @property
    def step(self) -> int:
        """Steps that were taken."""
        return len(self.curve)

    def average(self, share: float) -> None:
        """Averages move towards the weights by `share`."""
        torch._foreach_lerp_(list(self.averages.values()), list(self.weights), share)

    def restore(self, device: torch.device) -> bool:
        """Whether there was a state, which is put in place. Raises MGTError for one that is damaged or was made with
        something else."""
        if not self.file.is_file():
            return False
        try:
            state = torch.load(self.file, map_location=device, weights_only=True)
            made, step = state.get("made"), state["step"]
            curve = [(float(restoration), float(variation)) for restoration, variation in state["curve"]]
            assert step == len(curve), f"it has {len(curve)} losses of {step} steps"
        except OSError as error:
            raise MGTError(f"{self.file} cannot be read ({system_reason(error)})") from None
        except (MemoryError, torch.cuda.OutOfMemoryError):  # says nothing about the file
            raise
        except Exception as error:
            raise self.damaged(error) from None
        check_same(self.file, made, self.made)
        try:
            self.branch.load_state_dict(state["branch"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in self.averages.items():
                value.copy_(state["averages"][name])
        except Exception as error:
            raise self.damaged(error) from None
        self.curve = curve
        log.info("going on at step %d", self.step)
        return True

    def damaged(self, error: Exception) -> MGTError:
        return MGTError(f"{self.file} is no checkpoint of this training; remove it to begin anew ({error})")

    def save(self, told: Mapping[str, str]) -> None:
        """The state first, then what is made of it: whenever the process ends, the next one makes them match."""
        state = {"branch": self.branch.state_dict(), "averages": self.averages, "made": self.made,
                 "optimizer": self.optimizer.state_dict(), "step": self.step, "curve": self.curve}  # fmt: skip
        with writing(self.file, STAYS), written_whole(self.file) as partial, partial.open("wb") as stream:
            torch.save(state, stream)
        self.save_branch(told)

    def save_branch(self, told: Mapping[str, str]) -> None:
        """Branch and plot. told: of the branch, in its metadata."""
        values = {name: value.to("cpu", torch.float16).contiguous() for name, value in self.averages.items()}
        told = {"format": FORMAT, "steps": str(self.step), **told}
        with writing(self.out, STAYS):
            replace_file(self.out, save(values, told))
        with writing(self.out.with_suffix(".png"), STAYS):
            plot(self.out.with_suffix(".png"), self.curve)


def check_output(out: Path, settings: Any) -> None:
    """Raises MGTError where a training that begins would write over something that no training has written, or over a
    branch that it cannot go on from: one whose state is gone, unless these `settings` make more of it."""
    state, picture = out.with_suffix(".state"), out.with_suffix(".png")
    with writing(out):
        if state.is_file():
            return
        told = branch_told(out)
        if told is not None:
            if not is_outdone(told, asdict(settings)):
                raise MGTError(
                    f"{out} is a trained branch, and {state.name} is not there to go on from; move it elsewhere to "
                    "train another one, or give another --out"
                )
            return
        for file in (out, state, picture):
            if file.exists():
                raise MGTError(f"{file} exists and is not of a training; give another --out, or move it elsewhere")


def branch_told(out: Path) -> dict[str, str] | None:
    """What the branch in a file says of its training; None where there is no branch of one."""
    try:
        with safe_open(out, "pt") as file:
            told = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return told if told.get("format") == FORMAT else None


def is_outdone(told: Mapping[str, str], settings: dict) -> bool:
    """Whether a training of these settings takes more steps than that of a branch, and is the same otherwise."""
    try:
        before, steps = json.loads(told["settings"]), int(told["steps"])
        return steps < settings["steps"] and all(before[name] == settings[name] for name in settings.keys() - FREE)
    except (KeyError, TypeError, ValueError, RecursionError):  # of one that does not say it
        return False


def told_of(network: object, settings: object) -> dict[str, str]:
    return {"backbone": type(network).__name__, "settings": json.dumps(asdict(settings))}


def plot(path: Path, curve: list[tuple[float, float]], points: int = 400) -> None:
    """Both losses over the steps, averaged to `points`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    width = max(1, len(curve) // points)
    for axes, name, values in zip(figure.subplots(1, 2), ("restoration", "variation"), zip(*curve), strict=True):
        means = [sum(part) / len(part) for i in range(0, len(values), width) if (part := values[i : i + width])]
        axes.plot([i * width + width / 2 for i in range(len(means))], means)
        axes.set(title=name, xlabel="step", ylabel="loss")
        axes.grid(alpha=0.3)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png")
