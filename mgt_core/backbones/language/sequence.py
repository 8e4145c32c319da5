"""A picture's tokens inside a sequence of words, as every language model here lays them.

The blocks see the words first and then the cells of the picture, whatever the order that the ids have: attention in
both directions goes by positions alone, and so what acts on rows of a picture (merging, caches) finds them together.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from ...conditioning.picture_form import PictureForm
from ...conditioning.prompt_ids import Form
from ...errors import MGTError
from ...kernels.block import attention_bytes
from ...placement import sent
from ...pulse import beat
from ...types import NO_WORD, Condition
from ..base import Backbone
from ..hooks import NO_HOOKS, Hooks
from ..merge import NO_MERGES, Merge, Tables
from .branch import BlankCanvas

CELL = -1  # in a frame: where a cell of the picture stands


@dataclass(frozen=True)
class Prepared:
    """words: [B, L, C], embedded prompt and frame. tables: rotary_halves [L + n, D], words first. seen: [B, 1, 1, L]
    bool, the words that may be attended to; None for all of them."""

    words: Tensor
    tables: Tables
    seen: Tensor | None
    grid: tuple[int, int]


# A block as it is called: (x, tables, seen, merges, memory, top_down, watched) -> x; see LLaDA's.
Called = Callable[..., Tensor]


class SequenceBackbone(Backbone):
    """ids of the sequence: the prompt [L], then `frame`, where the cells stand row by row."""

    condition_fields = ("prompt",)
    block_kinds = ("single",)
    packed_first = True
    computes_alike = True
    self_guidance_branch = BlankCanvas
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip", "attention"})
    longest_prompt = 2048  # tokens of a text, for networks that hold many thousand

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def code_offset(self) -> int:
        """Id of code 0 in the joint vocabulary."""
        return self.config.code_offset

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

    @property
    def picture_form(self) -> PictureForm | None:
        """How it was trained to read pictures in a prompt; None for one that was not."""
        return None

    @abstractmethod
    def frame(self, grid: tuple[int, int]) -> Sequence[int]:
        """What follows the prompt: ids, and CELL for every cell of a picture of (height, width) cells."""

    @abstractmethod
    def embedded(self, ids: Tensor) -> Tensor:
        """[..., C] of ids [...] of the joint vocabulary."""

    @abstractmethod
    def rotary(self, positions: tuple[int, ...]) -> Tables:
        """Rotary tables of these positions."""

    @abstractmethod
    def calls(self, prepared: Prepared) -> Iterator[Called]:
        """Its blocks, in their order."""

    @abstractmethod
    def read_by_head(self, rows: Tensor) -> Tensor:
        """What the head reads of rows [..., C] after the last block, of words or cells."""

    @property
    def tokenizer_length(self) -> int:
        """Ids of the tokenizer that it was trained with."""
        return self.code_offset

    @classmethod
    def tokenizer_folders(cls, config: dict) -> tuple[str, ...]:
        """Below or beside its weights, where published checkpoints keep the tokenizer."""
        return ("", "tokenizer")

    @property
    def mask_id(self) -> int:
        """Of a grid's tokens, whose codes count from 0."""
        return self.codebook_size

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        return attention_bytes(rows, dtype, device)

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

    def rows_beside(self, condition: Condition, grid: tuple[int, int]) -> int:
        lead = 0 if condition.prompt is None else condition.prompt.shape[1]
        return lead + len(self.frame(grid)) - grid[0] * grid[1]

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        frame = torch.tensor(self.frame(grid), dtype=torch.long)
        prompt, lead = condition.prompt, condition.prompt.shape[1]
        around, cells = (torch.nonzero(frame != CELL)[:, 0], torch.nonzero(frame == CELL)[:, 0])
        ids = torch.cat([prompt, sent(frame[around], prompt.device).expand(len(prompt), -1)], dim=1)
        positions = (*range(lead), *(lead + around).tolist(), *(lead + cells).tolist())
        return Prepared(
            words=self.embedded(ids.clamp_min(0)),
            tables=sent(self.rotary(positions), prompt.device),
            seen=(ids != NO_WORD)[:, None, None] if condition.has_gaps else None,
            grid=grid,
        )

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        x = self.embedded(self.ids_of(tokens))
        if hooks.perturb is not None:
            x = hooks.perturb(x)
        image, words, tables = x.flatten(1, 2), prepared.words, prepared.tables
        merging, cache, skip, above = hooks.merging, hooks.cache, hooks.skip, iter(hooks.top_down or ())
        if cache:
            image, words, tables = cache.select(image, words, tables)
        lead = words.shape[1]
        watched = hooks.attention and partial(hooks.attention, lead)

        def through(x: Tensor, blocks: Iterable[Called]) -> Tensor:
            for block in blocks:
                beat()
                hooks.tap(x[:, lead:])
                merges = merging.at("single", x[:, lead:], prepared.grid) if merging else NO_MERGES
                own = next(above, None)
                own = None if own is None else F.pad(own, (0, 0, lead, 0))
                memory = cache and cache.memory()
                x = block(x, tables, prepared.seen, merges.after(lead), memory, own, watched)
            return x

        blocks = self.calls(prepared)
        joined = through(torch.cat([words, image], dim=1), islice(blocks, skip.first if skip else 0))

        def others(image: Tensor) -> Tensor:
            """Image rows after the last block, of those after the first ones."""
            rows = torch.cat([joined[:, :lead], image], dim=1) if skip else joined
            rows = through(rows, blocks)
            image = rows[:, lead:]
            return cache.whole(image, text=rows[:, :lead]) if cache else image

        image = joined[:, lead:]
        image = skip.past(others, image, cache and cache.rows) if skip else others(image)
        hooks.tap(image)
        return self.read_by_head(image).unflatten(1, prepared.grid)


class SquareBackbone(SequenceBackbone):
    """A frame of two marks around the cells, without row ends: how wide a picture is follows from how many cells it
    has, so that all of them are squares. Sampled as Muse's code does (arXiv 2301.00704, training and sampling of
    open-muse), whose schedule counts every cell, known or not."""

    paces_known = True

    @property
    @abstractmethod
    def around(self) -> tuple[int, int]:
        """Ids of the marks before and after the cells."""

    def sampled(self, steps: int, cfg: float) -> dict:
        """Published settings. known_confidence: the log of the largest float32."""
        return {
            "steps": steps,
            "cfg": cfg,
            "temperature": (1.0, 0.0),
            "temperature_shape": "compounding",
            "known_confidence": math.log(torch.finfo(torch.float32).max),
            "schedule": "cosine",
            "inpainting_schedule": "cosine",
        }

    @property
    def trained_grid(self) -> tuple[int, int]:
        side = math.isqrt(self.config.num_vq_tokens)
        return side, side

    def frame(self, grid: tuple[int, int]) -> Sequence[int]:
        begin, end = self.around
        return [begin, *[CELL] * math.prod(grid), end]

    def check_grid(self, grid: tuple[int, int]) -> None:
        super().check_grid(grid)
        if grid[0] != grid[1]:
            raise MGTError(
                f"the token grid is {grid[0]} x {grid[1]}; this model makes square pictures alone: it reads cells one "
                "after the other and cannot see where a row ends"
            )


def check_square(cells: int) -> None:
    """Raises MGTError for a number of cells that no square has."""
    if math.isqrt(cells) ** 2 != cells:
        raise MGTError(f"transformer config has num_vq_tokens {cells}; expected a square number")


def attended(seen: Tensor | None, merge: Merge | None, rows: int) -> Tensor | None:
    """[B, 1, 1, rows] bool, the rows that may be attended to, words first; None for all of them."""
    filled = None if merge is None else merge.mask
    if seen is None:
        return filled
    seen = F.pad(seen, (0, rows - seen.shape[-1]), value=True)
    return seen if filled is None else seen & filled
