"""A picture's tokens inside a sequence of words, as every language model here lays them.

The blocks see the words first and then the cells of the picture, whatever the order that the ids have: attention in
both directions goes by positions alone, and so what acts on rows of a picture (merging, caches) finds them together.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...conditioning.prompt_ids import Form
from ...errors import MGTError
from ...placement import sent
from ...types import NO_WORD, Condition
from ..base import Backbone
from ..merge import Merge, Tables

CELL = -1  # in a frame: where a cell of the picture stands


@dataclass(frozen=True)
class Prepared:
    """words: [B, L, C], embedded prompt and frame. tables: rotary_halves [L + n, D], words first. seen: [B, 1, 1, L]
    bool, the words that may be attended to; None for all of them."""

    words: Tensor
    tables: Tables
    seen: Tensor | None
    grid: tuple[int, int]


class SequenceBackbone(Backbone):
    """ids of the sequence: the prompt [L], then `frame`, where the cells stand row by row."""

    condition_fields = ("prompt",)
    block_kinds = ("single",)

    @property
    @abstractmethod
    def code_offset(self) -> int:
        """Id of code 0 in the joint vocabulary."""

    @property
    @abstractmethod
    def mask_word(self) -> int:
        """Id of a masked cell in the joint vocabulary."""

    @property
    @abstractmethod
    def words(self) -> int:
        """Ids of the joint vocabulary."""

    @property
    @abstractmethod
    def prompt_form(self) -> Form:
        """Of the prompts that it was trained with."""

    @abstractmethod
    def frame(self, grid: tuple[int, int]) -> Sequence[int]:
        """What follows the prompt: ids, and CELL for every cell of a picture of (height, width) cells."""

    @abstractmethod
    def embedded(self, ids: Tensor) -> Tensor:
        """[..., C] of ids [...] of the joint vocabulary."""

    @abstractmethod
    def rotary(self, positions: tuple[int, ...]) -> Tables:
        """Rotary tables of these positions."""

    @property
    def mask_id(self) -> int:
        """Of a grid's tokens, whose codes count from 0."""
        return self.codebook_size

    def ids_of(self, tokens: Tensor) -> Tensor:
        """Tokens of a grid -> their ids in the joint vocabulary."""
        return torch.where(tokens == self.mask_id, self.mask_word, tokens + self.code_offset)

    def check_condition(self, condition: Condition, role: str) -> None:
        super().check_condition(condition, role)
        prompt = condition.prompt
        if not prompt.shape[1] or not bool((prompt[:, -1] != NO_WORD).all()):
            raise MGTError(f"the {role} condition holds a prompt of no words at all; expected ids of the tokenizer")
        wrong = prompt[(prompt < NO_WORD) | (prompt >= self.words)]
        if len(wrong):
            raise MGTError(
                f"the {role} condition holds the id {int(wrong[0])}, and the model's vocabulary has {self.words}: the "
                "prompt was encoded for another model"
            )

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        frame = torch.tensor(self.frame(grid), dtype=torch.long)
        prompt, lead = condition.prompt, condition.prompt.shape[1]
        around, cells = (torch.nonzero(frame != CELL)[:, 0], torch.nonzero(frame == CELL)[:, 0])
        ids = torch.cat([prompt, sent(frame[around], prompt.device).expand(len(prompt), -1)], dim=1)
        positions = (*range(lead), *(lead + around).tolist(), *(lead + cells).tolist())
        gaps = ids == NO_WORD
        return Prepared(
            words=self.embedded(ids.clamp_min(0)),
            tables=sent(self.rotary(positions), prompt.device),
            seen=~gaps[:, None, None] if bool(gaps.any()) else None,
            grid=grid,
        )


def attended(seen: Tensor | None, merge: Merge | None, rows: int) -> Tensor | None:
    """[B, 1, 1, rows] bool, the rows that may be attended to, words first; None for all of them."""
    filled = None if merge is None else merge.mask
    if seen is None:
        return filled
    seen = F.pad(seen, (0, rows - seen.shape[-1]), value=True)
    return seen if filled is None else seen & filled
