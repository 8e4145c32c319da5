"""A tiny network of random weights whose grids are filled row by row, as code books of sound are."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import mgt_core
from mgt_core.backbones.base import Backbone
from mgt_core.backbones.hooks import NO_HOOKS, Hooks
from mgt_core.types import SOUND, UNCONDITIONAL

from .device import DEVICE

BOOKS, FRAMES, CODES, WIDTH = 3, 9, 6, 16
SHARES = (20, 10, 10)
RATE, HOP = 100, 10


@dataclass(frozen=True)
class Prepared:
    """condition: [N, C]; beside: [B, K, T] the rows of each image."""

    condition: Tensor
    beside: Tensor


class Staged(Backbone):
    """One attention over the frames, of all rows summed. labels: whether it reads classes, in the place of text."""

    makes = SOUND
    supports = frozenset({"perturb"})
    unquantized = ("heads.",)
    uncalled = ("heads.",)
    widened = ("heads.",)

    def __init__(self, books: int = BOOKS, seed: int = 0, labels: bool = False, shares: tuple[int, ...] = SHARES):
        super().__init__()
        self.condition_fields = ("labels",) if labels else ("hidden",)
        self.shares, self.stage, self.beside = shares[:books], None, None
        self.tables = nn.ModuleList(nn.Embedding(CODES + 1, WIDTH) for _ in range(books))
        self.classes = nn.Embedding(5, WIDTH)
        self.queries, self.keys, self.values = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(WIDTH, CODES) for _ in range(books))
        generator = torch.Generator().manual_seed(seed)
        for value in self.parameters():
            value.data = torch.randn(value.shape, generator=generator) * (0.2 if value.ndim > 1 else 0.1)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return False

    @property
    def stage_shares(self) -> tuple[int, ...]:
        return self.shares

    def at_stage(self, stage: int, tokens: Tensor) -> "Staged":
        view = copy.copy(self)
        view.stage, view.beside = stage, tokens
        return view

    def each_repeated(self, times: int) -> "Staged":
        return self if self.stage is None else self.at_stage(self.stage, self.beside.repeat_interleave(times, 0))

    mask_id = codebook_size = CODES
    num_classes, has_unconditional_class = 4, True
    condition_widths = {"hidden": WIDTH}

    @property
    def trained_grid(self) -> tuple[int, int]:
        return (len(self.tables), FRAMES) if self.stage is None else (1, FRAMES)

    @property
    def row_width(self) -> int:
        return WIDTH

    def check_grid(self, grid: tuple[int, int]) -> None:
        if grid[0] != self.trained_grid[0]:
            raise mgt_core.MGTError(f"the token grid has {grid[0]} rows; this model has {self.trained_grid[0]} books")

    def prepare(self, condition: mgt_core.Condition, grid: tuple[int, int]) -> Prepared:
        device = self.classes.weight.device
        if condition.labels is not None:
            told = self.classes(condition.labels.masked_fill(condition.labels == UNCONDITIONAL, self.num_classes))
        else:
            told = condition.hidden.mean(1)
        return Prepared(told, self.beside.to(device))

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        rows = prepared.beside.repeat(len(tokens) // len(prepared.beside), 1, 1)
        rows[:, self.stage] = tokens[:, 0]
        mixed = sum(embed(rows[:, book]) for book, embed in enumerate(self.tables))
        if hooks.perturb is not None:
            mixed = hooks.perturb(mixed[:, None])[:, 0]
        place = torch.arange(mixed.shape[1], device=tokens.device)[:, None] / 10
        mixed = mixed + torch.sin(place * torch.arange(1, WIDTH + 1, device=tokens.device))
        mixed = mixed + prepared.condition[:, None]
        attention = (self.queries(mixed) @ self.keys(mixed).transpose(1, 2) / WIDTH).softmax(-1)
        return (mixed + attention @ self.values(mixed))[:, None]

    def head(self, features: Tensor) -> Tensor:
        return self.heads[self.stage](features)


def staged_model(books: int = BOOKS, seed: int = 0, labels: bool = False, **settings) -> mgt_core.MGTModel:
    return mgt_core.MGTModel(
        Staged(books, seed, labels, **settings).to(DEVICE),
        pixels_per_token=HOP,
        defaults={"steps": 8, "cfg": 2.0, "temperature": (2.0, 0.0)},
        sample_rate=RATE,
    )


def text(batch: int = 1, seed: int = 0, length: int = 4) -> mgt_core.Condition:
    generator = torch.Generator().manual_seed(100 + seed)
    return mgt_core.Condition(hidden=2 * torch.randn(batch, length, WIDTH, generator=generator))


def empty(batch: int = 1, frames: int = FRAMES, books: int = BOOKS) -> mgt_core.TokenState:
    return mgt_core.empty_state(batch, (books, frames), CODES, CODES, SOUND)


def given(batch: int = 1, seed: int = 0, frames: int = FRAMES, **settings) -> mgt_core.TokenState:
    """Random codes in every cell, none of them fixed."""
    tokens = torch.randint(CODES, (batch, BOOKS, frames), generator=torch.Generator().manual_seed(seed))
    fixed = torch.zeros_like(tokens, dtype=torch.bool)
    return mgt_core.TokenState(tokens, fixed, CODES, CODES, makes=SOUND, **settings)


def run(model=None, state=None, positive=None, negative=None, **settings) -> mgt_core.TokenState:
    chosen = {"steps": 8, "cfg": 2.0, "seed": 7, "sampler": "maskgit", "schedule": "cosine"} | settings
    model, state = staged_model() if model is None else model, empty() if state is None else state
    positive, negative = positive or text(seed=1), negative or text(seed=2)
    return mgt_core.sample(model, state, positive, negative, **chosen)


def logged(model: mgt_core.MGTModel) -> tuple[mgt_core.MGTModel, list[SimpleNamespace]]:
    """The same, and what its network is asked: the stage, its row, and the grid as that sees it."""
    asked, plain = [], Staged.features

    class Watched(Staged):
        def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
            asked.append(SimpleNamespace(stage=self.stage, row=tokens.clone(), beside=prepared.beside.clone()))
            return plain(self, tokens, timestep, prepared, hooks)

    network = copy.copy(model.network)
    network.__class__ = Watched
    return mgt_core.MGTModel(**{**vars(model), "network": network}), asked
