"""Show-o (arXiv 2408.12528): a language model over words and codes of square pictures.

Words see the words before them alone, marks and cells see everything. So the keys and values of words depend on the
prompt alone: they are computed once a run, and a step computes two marks and the cells.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ...conditioning.prompt_ids import Form, Framed
from ...errors import MGTError
from ...kernels.wide_product import wide_linear
from ...kernels.widened import in_float32
from ...loading.disk import is_file, read_json
from ...registry import BACKBONES
from ...types import Condition
from ..merge import Tables
from .branch import TopicBranch
from .phi import FIRST, KEPT, Before, Block, PhiConfig
from .rotary import rotary_halves
from .sequence import Called, Prepared, SquareBackbone, check_square

PREFIX = "showo."
SPECIAL = 10  # tokens that follow the tokenizer's: padding and marks, in this order
PICTURE, PICTURE_END, TASK = 1, 2, 5  # of these
PUBLISHED = ("vocab_size", "llm_vocab_size", "codebook_size")
NETWORK = "phi"  # the kind of language model that this is


@dataclass(frozen=True)
class ShowOConfig(PhiConfig):
    """Named as in a published config.json. llm_vocab_size: tokens of the tokenizer. num_vq_tokens: cells of the
    pictures that it was trained with."""

    llm_vocab_size: int = 50295
    codebook_size: int = 8192
    num_vq_tokens: int = 1024

    def __post_init__(self):
        super().__post_init__()
        check_square(self.num_vq_tokens)
        if self.vocab_size != self.code_offset + self.codebook_size + 1:
            raise MGTError(
                f"the transformer has {self.vocab_size} ids; expected {self.llm_vocab_size} of its tokenizer, "
                f"{SPECIAL} marks, {self.codebook_size} codes and the mask: its config is another model's"
            )

    @property
    def code_offset(self) -> int:
        return self.llm_vocab_size + SPECIAL


@dataclass(frozen=True)
class PreparedShowO(Prepared):
    """words: of the two marks alone. before: rows of the prompt, of every block; `seen` counts them. topic: [B, C], the
    mean of the prompt's embedded words."""

    before: tuple[Before, ...]
    topic: Tensor


@BACKBONES.register("show-o")
class ShowO(SquareBackbone):
    """Sequence: prompt, picture, cells, picture end; padding is left out, since positions count by their distances."""

    longest_prompt = 126
    self_guidance_branch = TopicBranch
    computes_alike = False  # words by other attention than cells, once a run
    unquantized = ("embed_tokens.", "lm_head.")
    embeddings = ("embed_tokens",)
    uncalled = ("lm_head.",)
    widened = ("lm_head.",)

    def __init__(self, config: ShowOConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_layernorm = nn.LayerNorm(config.width, config.layer_norm_eps)
        self.lm_head = nn.Linear(config.width, config.codebook_size)

    @staticmethod
    def recognizes(config: dict, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        return any(f"{before}{FIRST}q_layernorm.weight" in shapes for before in (f"{PREFIX}model.", "model.", ""))

    @staticmethod
    def leaves(name: str) -> bool:
        return name.startswith("mm_projector.")  # of checkpoints that also see pictures through CLIP

    @staticmethod
    def renamed(name: str) -> str:
        return name.removeprefix(PREFIX).removeprefix("model.")

    @classmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        return config.get("codebook_size")

    @classmethod
    def completed(cls, config: dict, shapes: dict[str, tuple[int, ...]], weights: Path) -> dict:
        """With what the config of its language model says, where that lies beside it."""
        return {**language_model(config, weights), **config}

    @classmethod
    def configure(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> ShowOConfig:
        if missing := [name for name in PUBLISHED if name not in config]:
            raise MGTError(f"transformer config lacks {', '.join(missing)}")
        sizes = PhiConfig.sizes(shapes)
        if config["vocab_size"] != sizes["vocab_size"]:
            raise MGTError(
                f"transformer config has vocab_size {config['vocab_size']!r} and its weights {sizes['vocab_size']} "
                "ids; they belong to different models"
            )
        named = ("llm_vocab_size", "codebook_size", "num_vq_tokens", *KEPT)
        return ShowOConfig(**sizes, **{name: config[name] for name in named if name in config})

    @classmethod
    def tokenizer_folders(cls, config: dict) -> tuple[str, ...]:
        return (*super().tokenizer_folders(config), *language_folders(config))

    @property
    def published_settings(self) -> dict:
        """Of the repository's README, whose guidance counts from 0; the smaller ones are of 256 pixels a side."""
        return self.sampled(50, 6.0) if self.config.num_vq_tokens > 256 else self.sampled(16, 2.75)

    @property
    def rows_taken(self) -> dict[str, slice]:
        codes = slice(self.code_offset, self.code_offset + self.codebook_size)
        return {"lm_head.weight": codes, "lm_head.bias": codes}

    @property
    def tokenizer_length(self) -> int:
        return self.config.llm_vocab_size

    @property
    def mask_word(self) -> int:
        return self.config.vocab_size - 1

    @property
    def words(self) -> int:
        return self.config.vocab_size

    @property
    def prompt_form(self) -> Form:
        return Framed(self.tokenizer_length + TASK)

    @property
    def around(self) -> tuple[int, int]:
        return self.tokenizer_length + PICTURE, self.tokenizer_length + PICTURE_END

    @property
    def kept_width(self) -> int:
        return (2 * self.config.layers + 1) * self.config.width

    @property
    def row_width(self) -> int:
        return self.config.width

    def embedded(self, ids: Tensor) -> Tensor:
        return self.embed_tokens(ids)

    def rotary(self, positions: tuple[int, ...]) -> Tables:
        return rotary_halves(positions, self.config.rotary_dim, self.config.rope_theta)

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> PreparedShowO:
        whole, lead = super().prepare(condition, grid), condition.prompt.shape[1]
        x, tables, before = whole.words[:, :lead], whole.tables[:lead], []
        there = torch.ones(1, 1, 1, lead, dtype=torch.bool, device=x.device)
        if whole.seen is not None:
            there = whole.seen[..., :lead]
        own = torch.eye(lead, dtype=torch.bool, device=x.device)  # or a row that sees nothing is no number
        earlier = there & torch.ones_like(own).tril() | own
        counted = there[:, 0, 0, :, None].to(x.dtype)
        topic = (x * counted).sum(1) / counted.sum(1)
        for block in self.layers:
            x, rows = block.of_words(x, tables, earlier)
            before.append(rows)
        return PreparedShowO(whole.words[:, lead:], whole.tables[lead:], whole.seen, grid, tuple(before), topic)

    def calls(self, prepared: PreparedShowO) -> Iterator[Called]:
        return (partial(block, before=rows) for block, rows in zip(self.layers, prepared.before, strict=True))

    def read_by_head(self, rows: Tensor) -> Tensor:
        return self.final_layernorm(rows)

    def head(self, features: Tensor) -> Tensor:
        bias = self.lm_head.bias
        return wide_linear(features, self.lm_head.weight) + (
            in_float32(bias) if features.dtype == torch.float32 else bias
        )


def language_folders(config: Mapping) -> tuple[str, ...]:
    """Where the language model's config and tokenizer lie: folders of its name, and that of the published one."""
    path = config.get("llm_model_path")
    name = path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if isinstance(path, str) else ""
    return tuple(dict.fromkeys((name, "phi-1_5") if name.strip(".") else ("phi-1_5",)))


def language_model(config: Mapping, weights: Path) -> dict:
    """Entries of the language model's config, in a folder below the weights' or beside it; none where there is none.

    Raises MGTError for one of another network."""
    for folder in (weights, weights.parent):
        for name in language_folders(config):
            file = folder / name / "config.json"
            if is_file(file):
                held = read_json(file)
                if held.get("model_type") != NETWORK:
                    raise MGTError(f"{file} is of a {held.get('model_type')!r} model; Show-o is built on {NETWORK!r}")
                return {entry: held[entry] for entry in KEPT if entry in held}
    return {}
