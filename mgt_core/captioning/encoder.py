"""A text encoder that also reads masked words."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..conditioning.clip import TOKENS

PLACE, _, TABLE = TOKENS.removesuffix(".weight").rpartition(".")
_one_at_a_time = threading.Lock()


class WithMask(nn.Module):
    """A table of embeddings with one row more, for the first id beyond it. row: [D]."""

    def __init__(self, table: nn.Module, row: Tensor, mask_id: int):
        super().__init__()
        self.table, self.mask_id = table, mask_id
        self.register_buffer("row", row, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        known = self.table(ids.clamp_max(self.mask_id - 1))
        return torch.where((ids == self.mask_id)[..., None], self.row.to(known), known)


class MaskedText(nn.Module):
    """CLIP's text model with projection, as it is but while captions ask it. (A copy that shares its layers would not
    do: transformers has every model hang its recorders on them anew, and takes their states twice.)"""

    def __init__(self, network: nn.Module, row: Tensor, mask_id: int):
        super().__init__()
        self.network, self.row, self.mask_id = network, row, mask_id

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L] -> hidden_states[-2] [B, L, D], and [B, P] the projected state of the largest id, the first of them:
        of a finished text the end token, and of any other the first mask (CLIP's first rule, which Muddit was trained
        with, whatever end token a config names)."""
        self.row = self.row.to(ids.device)  # moved once, not at every step
        with self.masked_words():
            out = self.network(ids, output_hidden_states=True, return_dict=True)
        last = out.last_hidden_state[torch.arange(len(ids), device=ids.device), ids.argmax(-1)]
        return out.hidden_states[-2], self.network.text_projection(last)

    @contextmanager
    def masked_words(self) -> Iterator[None]:
        """Meanwhile the table of words has the mask's row too; prompts that others encode read the same as ever."""
        place = self.network.get_submodule(PLACE)
        with _one_at_a_time:
            table = getattr(place, TABLE)
            setattr(place, TABLE, WithMask(table, self.row, self.mask_id))
            try:
                yield
            finally:
                setattr(place, TABLE, table)
