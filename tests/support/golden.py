"""Finds golden files by listing the tree at MGT_GOLDEN (default tests/golden), and says how near to them is near.

Golden tests read every size from that tree. Tests that only need a tiny model take one of the project's own tree,
whatever MGT_GOLDEN says."""

import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.modifiers.base import Modifier
from mgt_core.sampling.run import Plan, Run

from .device import DEVICE, HERE

OWN = Path(__file__).parents[1] / "golden"
ROOT = Path(os.environ.get("MGT_GOLDEN") or OWN)
MEISSONIC = ROOT / "meissonic"
GAP = 1e-4  # of the largest value


def bundles() -> list[Path]:
    """Meissonic bundle folders of the project's own tree, as tiny models."""
    return bundles_of(OWN)


def recorded_bundles() -> list[Path]:
    """Meissonic bundle folders of the tree that golden tests compare with."""
    return bundles_of(ROOT)


def bundles_of(root: Path) -> list[Path]:
    return sorted(path.parent.parent for path in root.glob("meissonic/*/transformer/config.json"))


def traces(prefix: str) -> list[Path]:
    """Trace files (without suffix) of every bundle whose name starts with `prefix`."""
    return sorted(path.with_suffix("") for path in MEISSONIC.glob(f"*/traces/{prefix}*.json"))


def label(path: Path) -> str:
    return "/".join(path.relative_to(ROOT if path.is_relative_to(ROOT) else OWN).parts)


def assert_near(ours: torch.Tensor, recorded: torch.Tensor, scale: torch.Tensor | None = None) -> None:
    """Within GAP of the largest value of `scale`, the recorded ones by default: rounding grows with the values.

    scale: the values before they were clipped, where they were."""
    scale = recorded if scale is None else scale
    gap = GAP * scale.abs().max().item() if scale.numel() else 0.0
    torch.testing.assert_close(ours.to(recorded.device), recorded, atol=gap, rtol=0)


def assert_same_codes(codec: mgt_core.Codec, image: torch.Tensor, recorded: torch.Tensor, tile_size: int = 0) -> None:
    """Ids [B, h, w] of pictures [B, H, W, 3]: the same but where two codes are as near as float32 can tell, which is
    one cell in a hundred at the most."""
    latents, ours = codec.latents(image, tile_size), codec.encode(image, tile_size)
    assert ours.shape == recorded.shape
    ours, recorded = ours.to(latents.device), recorded.to(latents.device)
    away, wanted = ((latents - codec.codes(ids)).norm(dim=1) for ids in (ours, recorded))
    error = GAP * latents.abs().max() * latents.shape[1] ** 0.5
    differ = ours != recorded
    assert ((away - wanted).abs()[differ] <= 2 * error).all() and differ.sum() <= max(1, differ.numel() // 100)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Where the models lie that they are compared with."""
    held = load_file(path.with_name(path.name + ".safetensors"))
    return {name: value.to(DEVICE) for name, value in held.items()}


def settings(path: Path) -> dict:
    return json.loads(path.with_name(path.name + ".json").read_text())


@cache
def pipeline(folder: Path) -> mgt_core.Pipeline:
    return mgt_core.load(folder, **HERE)


class Trace:
    """One recorded run of the reference: its call, its phases, and what each computed."""

    def __init__(self, path: Path):
        self.pipe = pipeline(path.parent.parent)
        self.settings = settings(path)
        self.tensors = tensors(path)
        self.call = self.settings["call"]
        self.steps = self.call["num_inference_steps"]
        self.cfg = float(self.call["guidance_scale"])
        temperature = self.call.get("temperature", self.settings.get("temperature"))
        self.temperature = tuple(temperature) if isinstance(temperature, list) else temperature
        self.schedule = self.settings["masking_schedule"]
        edited = self.tensors.get("init.image_pt")  # editing takes its size from the picture
        self.size = (self.call["height"], self.call["width"]) if edited is None else tuple(edited.shape[2:])

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def prompts(self, key: str) -> list[str]:
        value = self.call.get(key) or ""
        return [value] if isinstance(value, str) else value

    def conditions(self) -> dict[str, mgt_core.Condition]:
        encode = self.pipe.text.encode
        return {
            "positive": encode(self.prompts("prompt"), size=self.size),
            "negative": encode(self.prompts("negative_prompt"), size=self.size),
        }

    def state(self) -> mgt_core.TokenState:
        batch = len(self.prompts("prompt"))
        return mgt_core.empty_tokens(self.pipe, height=self.size[0], width=self.size[1], batch=batch)

    def phases(self) -> list[str]:
        return [phase for phase in self.settings["phases"] if f"{phase}.tokens_in" in self.tensors]


class RecordedDraws:
    """Feeds the recorded exponential race and Gumbel noise of a trace; `phase` is set by the test."""

    def __init__(self, trace: Trace):
        self.trace, self.phase = trace, None

    def source(self, generators, cells):
        return self

    def _key(self, step) -> str:
        return self.phase or f"step{step.index:02d}"

    def categorical(self, logits, step):
        race = self.trace[f"{self._key(step)}.exp_noise"]
        race = race.gather(1, step.positions[..., None].expand(-1, -1, race.shape[-1]))
        return (logits.softmax(-1) / race).argmax(-1)

    def gumbel(self, step):
        return self.trace[f"{self._key(step)}.gumbel"]


@dataclass(frozen=True)
class Spy(Modifier):
    """Keeps what reached it at the last step: logits and step."""

    neutral = {}

    seen: dict = field(default_factory=dict)

    def begin(self):
        def keep(logits, step):
            self.seen.update(logits=logits, step=step)
            return logits

        return keep


def run_of(trace: Trace, model: mgt_core.MGTModel, state: mgt_core.TokenState, sampler, draws: RecordedDraws) -> Run:
    """A run of `sampler` as the trace was made, to be taken step by step."""
    conditions = {role: model.complete(c, state.batch, state.grid, role) for role, c in trace.conditions().items()}
    plan = Plan(
        schedule=mgt_core.SCHEDULES.get(trace.schedule)(),
        steps=trace.steps,
        cfg=trace.cfg,
        seeds=range(state.batch),
        temperatures=sampler.temperatures(trace.steps),
        draws=draws.source,
    )
    return Run(model, state, conditions["positive"], conditions["negative"], plan)
