"""What was recorded of Show-o and MMaDA, whose samplers are one: models, sequences and runs."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core import SCHEDULES, Condition, MGTModel, TokenState
from mgt_core.conditioning.prompt_ids import PromptEncoder
from mgt_core.loading.networks import load_backbone, prompt_encoder_of
from mgt_core.types import NO_WORD

from .device import DEVICE
from .golden import ROOT

FAMILIES = {"show-o": ROOT / "unified" / "showo", "mmada": ROOT / "unified" / "mmada"}
# Of each the weights, the tokenizer, and what its table of ids calls the padding of prompts.
PARTS = {"show-o": ("showo", "phi_tiny", "<|pad|>"), "mmada": ("", "", "[iPAD]")}


def recorded(family: str, prefix: str = "t") -> list[str]:
    """Names of the runs that the tree holds."""
    return sorted(path.stem for path in (FAMILIES[family] / "traces").glob(f"{prefix}*.json"))


@dataclass(frozen=True)
class Muse:
    """folder: of the family. tiny: its ids and lengths. A sequence is a prompt, a mark, cells and a mark."""

    family: str
    folder: Path
    tiny: dict
    model: MGTModel
    text: PromptEncoder

    @property
    def network(self):
        return self.model.network

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        held = load_file(self.folder / f"{name}.safetensors")
        return {key: value.to(DEVICE) for key, value in held.items()}

    def settings(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text())

    def split(self, ids: torch.Tensor, cells: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences [B, n] -> prompts [B, L], whose padding is NO_WORD, and tokens of their cells [B, N]."""
        lead = ids.shape[1] - cells - 2
        prompt, own = ids[:, :lead], ids[:, lead + 1 : -1]
        pad = self.tiny["special_ids"][PARTS[self.family][2]]
        network = self.network
        assert ids[:, lead].tolist() == [network.around[0]] * len(ids)
        assert ids[:, -1].tolist() == [network.around[1]] * len(ids)
        tokens = torch.where(own == network.mask_word, network.mask_id, own - network.code_offset)
        return prompt.masked_fill(prompt == pad, NO_WORD), tokens

    def codes(self, columns: torch.Tensor) -> torch.Tensor:
        """Logits of all ids, or of codes alone -> those of codes."""
        if columns.shape[-1] == self.network.codebook_size:
            return columns
        return columns[..., self.network.code_offset :][..., : self.network.codebook_size]


@cache
def muse(family: str) -> Muse:
    folder, (weights, words, _) = FAMILIES[family], PARTS[family]
    tiny = json.loads((folder / "tiny.json").read_text())
    network = load_backbone(folder / weights, torch.float32, DEVICE)
    text = prompt_encoder_of(network, folder / words)
    text = replace(text, max_length=tiny["max_seq_length"] - 2)  # 128 and 512 in what is published
    return Muse(family, folder, tiny, MGTModel(network, 16, defaults=network.published_settings), text)


class Recorded:
    """Feeds what a run drew: exponential and uniform numbers."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors = tensors

    def source(self, generators, cells) -> "Recorded":
        return self

    def categorical(self, logits, step):
        race = self.tensors[f"step{step.index:02d}.exponential"]
        return (logits.softmax(-1) / race.gather(1, step.positions[..., None].expand_as(logits))).argmax(-1)

    def gumbel(self, step):
        uniform = self.tensors[f"step{step.index:02d}.uniform"]
        return -torch.log((-torch.log(uniform.clamp_min(1e-20))).clamp_min(1e-20))


def schedule(name: str) -> mgt_core.MaskSchedule:
    kind, exponent = name[:3], name[3:]
    return SCHEDULES.get(kind)(float(exponent)) if kind == "pow" else SCHEDULES.get(name)()


def rerun(muse: Muse, name: str) -> tuple[TokenState, list[torch.Tensor], dict[str, torch.Tensor]]:
    """A recorded run with its draws: how it ends, the tokens [B, N] before each step, and what was recorded."""
    call, tensors = muse.settings(f"traces/{name}"), muse.tensors(f"traces/{name}")
    cells = call["grid_h"] * call["grid_w"]
    prompt, tokens = muse.split(tensors["cond_ids"], cells)
    texts = muse.text.encode(call["prompts"]).prompt.to(DEVICE)
    assert torch.equal(texts, prompt[:, prompt.shape[1] - texts.shape[1] :])
    assert (prompt[:, : prompt.shape[1] - texts.shape[1]] == NO_WORD).all()
    tokens = tokens.unflatten(1, (call["grid_h"], call["grid_w"]))
    state = TokenState(tokens, tokens != muse.network.mask_id, muse.network.mask_id, muse.network.codebook_size)
    own = muse.network.published_settings
    sampler = mgt_core.MaskGIT(
        (call["temperature"], 0.0),
        temperature_shape=own["temperature_shape"],
        known_confidence=own["known_confidence"],
        draws=Recorded(tensors).source,
    )
    seen: list[torch.Tensor] = []
    ended = mgt_core.sample(
        muse.model,
        state,
        Condition(prompt=texts),
        muse.text.encode([""] * len(tokens)),
        sampler=sampler,
        schedule=schedule(call["schedule"]),
        steps=call["timesteps"],
        cfg=1 + call["guidance_scale"],
        callback=lambda step: seen.append(step.tokens.flatten(1)),
    )
    return ended, seen, tensors
