"""CLIP text encoder as masked transformers use it: penultimate states and projected pooled output."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from .errors import MGTError
from .model import micro_conditions
from .placement import Placement, Resident
from .types import Condition

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextEncoder:
    """transformers' CLIPTextModelWithProjection and its tokenizer.

    max_length: tokens a prompt is padded or cut to.
    """

    network: nn.Module
    tokenizer: Any
    max_length: int
    placement: Placement | None = None

    def with_placement(self, placement: Placement) -> "TextEncoder":
        return replace(self, placement=placement)

    @torch.inference_mode()
    def encode(self, prompts: str | Sequence[str], size: tuple[int, int] | None = None) -> Condition:
        """Prompts to a Condition of that batch, on the encoder's device.

        hidden [B, L, D]: hidden_states[-2], without the final norm; pooled [B, P]: projected state of
        the end token (Meissonic's pipeline). size: (height, width) in pixels; fills the
        micro-conditions, which are otherwise filled when sampling starts.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, (list, tuple)) or not prompts or not all(isinstance(p, str) for p in prompts):
            raise MGTError(f"prompts are {prompts!r}; expected one or more texts")
        device = (self.placement or Resident(self.network)).acquire()
        ids = self.tokenizer(
            list(prompts), return_tensors="pt", padding="max_length", truncation=True, max_length=self.max_length
        ).input_ids
        self._warn_of_cuts(prompts)
        out = self.network(ids.to(device), output_hidden_states=True, return_dict=True)
        micro = None if size is None else micro_conditions(size).expand(len(prompts), -1).to(device)
        return Condition(hidden=out.hidden_states[-2], pooled=out.text_embeds, micro=micro)

    def _warn_of_cuts(self, prompts: Sequence[str]) -> None:
        room = self.max_length - 2  # without the start and end tokens
        for prompt in prompts:
            words = self.tokenizer(prompt, add_special_tokens=False).input_ids
            if len(words) > room:
                lost = self.tokenizer.decode(words[room:])
                log.warning("the prompt has %d tokens and %d fit: %r is left out", len(words), room, lost)
