"""MAGNeT (arXiv 2401.04577, section 3): a masked transformer over the frames of a sound, in plain torch.

A frame has a token in each of several code books, and its row is the sum of their embeddings. The books are filled one
after the other; which of them it is decides the head, and how far frames look (section 3.3): the first book's see all
others, those of finer books their neighbours alone.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import MGTError
from ...kernels.block import attention_bytes
from ...kernels.widened import widened
from ...placement import sent
from ...pulse import beat
from ...registry import BACKBONES
from ...types import SOUND, Condition
from ..base import Backbone
from ..hooks import NO_HOOKS, Hooks
from ..merge import NO_MERGES
from .blocks import Layer, Reach, Words, near_frames, sinusoid, thirds
from .branch import MagnetBranch
from .config import LM, OWN_LM, TEXT, MagnetConfig, Shapes, text_repository

FRAME_RATE = 50  # frames a second of the codecs that it is published with
SHARES = {4: (20, 10, 10, 10)}  # of a run's steps by the number of books, as published; else the first takes two


@dataclass(frozen=True)
class Prepared:
    """What depends only on the condition, the stage and the other books: computed once a stage.

    beside: [B, T, C] float32, of every frame its place and its tokens in the other books. table: [codes + 1, C] the
    embeddings of the stage's own. reach: which frames see each other; None where all do. words: of every layer.
    visible: [B, 1, 1, L] bool, words that may be attended to; None for all. pooled: [B, C] the text in short.
    """

    beside: Tensor
    table: Tensor
    reach: Reach | None
    words: list[Words]
    visible: Tensor | None
    pooled: Tensor


def lengthened(condition: Condition, rows: int) -> Condition:
    """With rows without a word at its end."""
    more, visible = rows - condition.hidden.shape[1], condition.visible
    visible = None if visible is None else F.pad(visible, (0, more))
    return replace(condition, hidden=F.pad(condition.hidden, (0, 0, 0, more)), visible=visible)


@BACKBONES.register("magnet")
class MAGNeT(Backbone):
    """Tokens of all code books and a text to the logits of one book.

    It has no timestep. As it is loaded its grid is (books, frames) and it evaluates nothing; `at_stage` gives the
    network of one book, on (1, frames).
    """

    config_class = MagnetConfig
    makes = SOUND
    self_guidance_branch = MagnetBranch
    condition_fields = ("hidden",)
    condition_options = ("visible",)
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip", "attention", "stages"})
    refusals = MappingProxyType(
        {
            "reference": "it makes sound, and looks at no picture",
            "words": "it makes sound of words, and writes none",
        }
    )
    # Heads and the text's projection decide every logit, and are applied in float32 as their authors do; they are a
    # small part of the work. Embeddings are read row by row.
    unquantized = ("linears.", "condition_provider.")
    uncalled = ("linears.", "condition_provider.")
    widened = ("linears.", "out_norm.")

    def __init__(self, config: MagnetConfig):
        super().__init__()
        self.config = config
        self.frames = int(config.seconds * FRAME_RATE)
        self.stage: int | None = None
        self.context: Tensor | None = None  # at a stage: [B, books, T] the tokens of all books
        output_proj = nn.Linear(config.text_width, config.dim)
        description = nn.ModuleDict({"description": nn.ModuleDict({"output_proj": output_proj})})
        self.condition_provider = nn.ModuleDict({"conditioners": description})
        self.emb = nn.ModuleList(nn.Embedding(config.codes + 1, config.dim) for _ in range(config.books))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(Layer(config) for _ in range(config.layers))})
        self.out_norm = nn.LayerNorm(config.dim)
        self.linears = nn.ModuleList(nn.Linear(config.dim, config.codes, config.bias_head) for _ in range(config.books))

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        if config.get(LM, OWN_LM) != OWN_LM:  # MusicGen, whose tensors have the same names
            return False
        return {"emb.0.weight", "linears.0.weight", "transformer.layers.0.norm_cross.weight", TEXT} <= shapes.keys()

    @classmethod
    def text_encoder_in(cls, config: dict) -> str:
        return text_repository(config)

    def saved_config(self) -> dict:
        return self.config.as_xp()

    @classmethod
    def configure(cls, config: dict, shapes: Shapes) -> MagnetConfig:
        return MagnetConfig.from_xp(config, shapes)

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return shapes["linears.0.weight"][0]

    @classmethod
    def divided(cls, name: str, shape: tuple[int, ...]) -> Mapping[str, slice | None]:
        return thirds(name, shape[0] if shape else 0)

    @property
    def published_settings(self) -> dict:
        """Of audiocraft's MAGNeT.set_generation_params, whose guidance falls from 10 to 1 in each stage."""
        return {
            "steps": 50,
            "cfg": 10.0,
            "schedule": "magnet",
            "inpainting_schedule": "magnet",
            "sampler": "magnet",
            "guidance": {"shape": "mask", "outside": 1.0},
        }

    @property
    def mask_id(self) -> int:
        return self.config.codes

    @property
    def codebook_size(self) -> int:
        return self.config.codes

    @property
    def trained_grid(self) -> tuple[int, int]:
        return self.config.books if self.stage is None else 1, self.frames

    @property
    def stage_shares(self) -> tuple[int, ...]:
        books = self.config.books
        return SHARES.get(books, (2, *[1] * (books - 1)))

    @property
    def kept_width(self) -> int:
        return (2 * self.config.layers + 1) * self.config.dim

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        return attention_bytes(rows, dtype, device)

    @property
    def row_width(self) -> int:
        return self.config.dim

    @property
    def condition_widths(self) -> dict[str, int]:
        return {"hidden": self.config.text_width}

    def fit_codec(self, codec: Any) -> None:
        """Raises MGTError for a codec of other tokens."""
        own, held = (self.config.books, self.config.codes), (codec.books, codec.codebook_size)
        if own != held:
            raise MGTError(
                f"the codec has {held[0]} code books of {held[1]} codes and its transformer {own[0]} of {own[1]}; they "
                "belong to different models"
            )
        self.frames = max(1, int(self.config.seconds * codec.sample_rate / codec.scale))

    def check_grid(self, grid: tuple[int, int]) -> None:
        books = self.trained_grid[0]
        if grid[0] != books or grid[1] < 1:
            raise MGTError(f"the tokens have {grid[0]} code books of {grid[1]} frames; this model has {books}")
        if self.context is not None and grid[1] != self.context.shape[2]:
            raise MGTError(
                f"the tokens have {grid[1]} frames, and those of the other code books {self.context.shape[2]}"
            )

    def alike(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Where no row holds a word, any number of them adds the same: as many as the longest has, as published."""
        longest = max((each.hidden.shape[1] for each in conditions), default=0)
        if self.config.text_positions:  # rows count by their places
            return list(conditions)
        return [each if bool(each.hidden.any()) else lengthened(each, longest) for each in conditions]

    def at_stage(self, stage: int, tokens: Tensor) -> "MAGNeT":
        books = self.config.books
        if not 0 <= stage < books or tokens.ndim != 3 or tokens.shape[1] != books:
            raise MGTError(
                f"stage {stage} is asked for of tokens of shape {list(tokens.shape)}; this model has {books} code "
                "books, counted from 0"
            )
        view = copy.copy(self)
        view.stage, view.context = stage, tokens
        view.__dict__["of"] = self.shared  # not as a module of its own
        return view

    def each_repeated(self, times: int) -> "MAGNeT":
        if self.stage is None:
            return self
        return self.shared.at_stage(self.stage, self.context.repeat_interleave(times, 0))

    @property
    def shared(self) -> Backbone:
        return self.__dict__.get("of", self)

    def staged(self) -> int:
        """The stage that it is at. Raises MGTError for none."""
        if self.stage is None:
            raise MGTError(
                "this model fills its code books one after the other, and is evaluated at one of them alone: "
                "model.at_stage(stage, tokens)"
            )
        return self.stage

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        stage, device = self.staged(), condition.hidden.device
        if condition.batch % len(self.context):
            raise MGTError(
                f"the tokens of the other code books are of {len(self.context)} sounds and the conditions of "
                f"{condition.batch}"
            )
        context, positions = sent(self.context, device), sent(sinusoid(grid[1], self.config.dim), device)
        others = [book for book in range(self.config.books) if book != stage]
        beside = sum((self.emb[book](context[:, book]).float() for book in others), positions)
        reach = None
        if stage and self.config.reach >= 0:
            reach = Reach.of(sent(near_frames(grid[1], self.config.reach), device), self.out_norm.weight.dtype)
        text, visible, pooled = self.text_of(condition)
        return Prepared(
            beside=beside.repeat(condition.batch // len(context), 1, 1),  # the images once for each condition
            table=self.emb[stage].weight,
            reach=reach,
            words=[layer.cross_attention.given(text) for layer in self.transformer["layers"]],
            visible=visible,
            pooled=pooled,
        )

    def text_of(self, condition: Condition) -> tuple[Tensor, Tensor | None, Tensor]:
        """Rows of the text [B, L, C]; which of them may be attended to, [B, 1, 1, L] bool or None; and the mean of
        those that hold a word [B, C].

        A row that holds no word is zero, and keeps its share of the attention unless `visible` leaves it out, as
        published: a result then depends on the longest prompt of its batch. Of a prompt without any word all rows are
        seen, which add nothing."""
        output_proj = self.condition_provider["conditioners"]["description"]["output_proj"]
        dtype = self.out_norm.weight.dtype
        text = widened(output_proj, condition.hidden.float())
        there = (condition.hidden != 0).any(-1)
        visible = condition.visible
        if visible is not None:
            there = there & visible
            visible = (visible | ~visible.any(1, keepdim=True))[:, None, None]
        text = text * there[..., None]
        pooled = (text.sum(1) / there.sum(1, keepdim=True).clamp_min(1)).to(dtype)
        if self.config.text_positions:
            text = text + self.config.text_positions * sent(sinusoid(text.shape[1], self.config.dim), text.device)
        return text.to(dtype), visible, pooled

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        """tokens: [B, 1, T] of the stage's book. Of the stage nothing is read but what is prepared: code that is
        compiled or recorded serves all of them."""
        x = (prepared.beside + F.embedding(tokens[:, 0], prepared.table)).to(prepared.table.dtype)
        if hooks.perturb is not None:
            x = hooks.perturb(x[:, None])[:, 0]
        merging, cache, skip, above = hooks.merging, hooks.cache, hooks.skip, iter(hooks.top_down or ())
        seen = hooks.attention and partial(hooks.attention, None)
        rows = None
        if cache:
            x, _, _ = cache.select(x, x[:, :0], None)  # no text among the rows, and no rotary tables
            rows = cache.rows
        reach = prepared.reach and replace(prepared.reach, rows=rows)

        def through(x: Tensor, layers: Iterable[tuple[Layer, Words]]) -> Tensor:
            for layer, words in layers:
                beat()
                hooks.tap(x)
                merges = merging.at("single", x, tokens.shape[1:]) if merging else NO_MERGES
                memory = cache and cache.memory()
                x = layer(x, words, prepared.visible, reach, merges, memory, next(above, None), seen)
            return x

        layers = zip(self.transformer["layers"], prepared.words, strict=True)

        def others(x: Tensor) -> Tensor:
            """All rows after the last layer, of those after the first ones."""
            x = through(x, layers)
            return cache.whole(x).clone() if cache else x  # what is kept is overwritten by the next call

        x = skip.past(others, through(x, islice(layers, skip.first)), rows) if skip else others(x)
        hooks.tap(x)
        return x[:, None]

    def head(self, features: Tensor) -> Tensor:
        return widened(self.linears[self.staged()], widened(self.out_norm, features))
