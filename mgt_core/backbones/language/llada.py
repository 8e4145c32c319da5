"""LLaDA (arXiv 2502.09992): a transformer that attends both ways, over words and codes of pictures, in plain torch.

Parameter names are those of the published checkpoints, without what stands before all of them.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import MGTError
from ...kernels.block import attention
from ...kernels.fused_linear import FusedLinear, Fusing
from ...kernels.wide_product import wide_linear
from ...pulse import beat
from ..hooks import Memory
from ..merge import NO_MERGES, BlockMerges, Merge, Tables, merged, merged_tables, unmerged
from .rotary import rotary_halves, turned
from .sequence import Prepared, SequenceBackbone, attended
from .vocabulary import Words

PREFIX = "model.transformer."
# What published configs may say otherwise, and this network has no place for.
PLAIN = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "include_bias": False,
    "include_qkv_bias": False,
    "bias_for_layer_norm": False,
    "attention_layer_norm": False,
    "alibi": False,
    "rope": True,
    "weight_tying": False,
    "scale_logits": False,
    "input_emb_norm": False,
}


@dataclass(frozen=True)
class LLaDAConfig:
    """Sizes, named as in a published config.json. embedding_size: rows of the embedding, the joint vocabulary.
    code_offset: id of code 0. codebook_size: codes. mask_token_id: of a masked cell. marks: ids of what stands around
    pictures, by the names that the family has for them. architectures: tells families apart."""

    d_model: int
    n_heads: int
    n_layers: int
    mlp_hidden_size: int
    embedding_size: int
    mask_token_id: int
    code_offset: int
    codebook_size: int
    marks: Mapping[str, int]
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    architectures: Sequence[str] = ()

    @classmethod
    def from_dict(cls, values: Mapping) -> "LLaDAConfig":
        """Raises MGTError naming entries that are missing, contradict each other or describe another network."""
        for name, usual in PLAIN.items():
            if values.get(name, usual) not in (usual, None):
                raise MGTError(f"transformer config has {name} {values[name]!r}; only {usual!r} is supported")
        if values.get("n_kv_heads") not in (None, values.get("n_heads")):
            raise MGTError(
                f"transformer config has n_kv_heads {values['n_kv_heads']!r} and n_heads {values['n_heads']!r}; only "
                "networks whose heads have keys of their own are supported"
            )
        missing = [f.name for f in fields(cls) if f.name not in values and f.default is MISSING]
        if missing:
            raise MGTError(f"transformer config lacks {', '.join(missing)}")
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a number of 1 or more")
            if f.type is float and (not isinstance(value, (int, float)) or not 0 < value < 1e12):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a number above 0")
        if self.d_model % (2 * self.n_heads):
            raise MGTError(
                f"transformer config has d_model {self.d_model} and n_heads {self.n_heads}; heads need an even width"
            )
        if self.code_offset + self.codebook_size > self.embedding_size:
            raise MGTError(
                f"{self.codebook_size} codes from id {self.code_offset} on do not fit into the {self.embedding_size} "
                "ids of the transformer; its tokenizer or codec is another model's"
            )
        if self.mask_token_id >= self.code_offset:
            raise MGTError(
                f"transformer config has mask_token_id {self.mask_token_id}, among the codes, which begin at "
                f"{self.code_offset}; its tokenizer is another model's"
            )

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


class Block(Fusing):
    def __init__(self, config: LLaDAConfig):
        super().__init__()
        dim, hidden = config.d_model, config.mlp_hidden_size
        self.heads = config.n_heads
        self.attn_norm, self.ff_norm = (nn.RMSNorm(dim, eps=config.rms_norm_eps) for _ in range(2))
        self.qkv_proj = FusedLinear(("q_proj", "k_proj", "v_proj"), dim, dim, bias=False)
        self.attn_out = nn.Linear(dim, dim, bias=False)
        self.ff_up = FusedLinear(("ff_proj", "up_proj"), dim, hidden, bias=False)
        self.ff_out = nn.Linear(hidden, dim, bias=False)

    def forward(
        self,
        x: Tensor,
        tables: Tables,
        seen: Tensor | None,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
        watched: Callable[[Tensor, Tensor, Merge | None, Tensor | None], None] | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C], words first; tables: of all rows; seen: [B, 1, 1, L], the words to attend to."""
        merge = merges.attention
        product = self.qkv_proj(merged(merge, self.attn_norm(x))).unflatten(-1, (3, self.heads, -1))
        if top_down is not None:
            product[:, :, 2].add_(self.qkv_proj.product("v_proj", top_down).unflatten(-1, (self.heads, -1)))
        q, k, v = product.permute(2, 0, 3, 1, 4).unbind()
        rows = merged_tables(merge, tables)
        q, k = turned(q, rows), turned(k, rows)
        if memory is not None:
            k, v = memory(k, v, merge)
        visible = attended(seen, merge, k.shape[2])
        if watched is not None:
            watched(q, k, merge, visible)
        beat()
        out = attention(q, k, v, visible).transpose(1, 2).flatten(2)
        beat()
        x = x + unmerged(merge, self.attn_out(out))
        gate, up = self.ff_up(merged(merges.mlp, self.ff_norm(x))).chunk(2, dim=-1)
        return x + unmerged(merges.mlp, self.ff_out(F.silu(gate) * up))


class LLaDATransformer(SequenceBackbone):
    """What Lumina-DiMOO and MMaDA share: the network. They differ in what stands around a picture."""

    config_class = LLaDAConfig
    architecture: ClassVar[str]  # what a published config calls it
    unquantized = ("wte.", "ff_out.")
    uncalled = ("ff_out.",)
    embeddings = ("wte",)
    widened = ("ff_out.",)

    def __init__(self, config: LLaDAConfig):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.embedding_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        self.ff_out = nn.Linear(config.d_model, config.codebook_size, bias=False)

    @classmethod
    def recognizes(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        own, named = (f"{prefix}blocks.0.ff_proj.weight" for prefix in (PREFIX, "")), config.get("architectures")
        return any(name in shapes for name in own) and isinstance(named, list) and cls.architecture in named

    @classmethod
    def completed(cls, config: dict, shapes: dict[str, tuple[int, ...]], weights: Path) -> dict:
        """With what the tokenizer says: codes begin behind its ids."""
        if "marks" in config:
            return config  # of a bundle that this pack has saved
        words, rows = Words.beside(weights), shapes["wte.weight"][0]
        return {**config, "embedding_size": rows, "code_offset": words.count, **cls.told(words, rows)}

    @classmethod
    @abstractmethod
    def told(cls, words: Words, rows: int) -> dict:
        """What else a tokenizer says beside an embedding of so many rows: the ids of marks, and perhaps how many codes
        there are."""

    @staticmethod
    def renamed(name: str) -> str:
        return name.removeprefix(PREFIX)

    @classmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        return config.get("codebook_size")  # else the tokenizer tells

    @property
    def rows_taken(self) -> dict[str, slice]:
        first = self.config.code_offset
        return {"ff_out.weight": slice(first, first + self.config.codebook_size)}

    @property
    def mask_word(self) -> int:
        return self.config.mask_token_id

    @property
    def words(self) -> int:
        return self.config.embedding_size

    @property
    def kept_width(self) -> int:
        return (2 * self.config.n_layers + 1) * self.config.d_model

    @property
    def row_width(self) -> int:
        return self.config.d_model

    def embedded(self, ids: Tensor) -> Tensor:
        return self.wte(ids)

    def rotary(self, positions: tuple[int, ...]) -> Tables:
        return rotary_halves(positions, self.config.head_dim, self.config.rope_theta)

    def calls(self, prepared: Prepared) -> Iterator[Block]:
        return iter(self.blocks)

    def read_by_head(self, rows: Tensor) -> Tensor:
        return self.ln_f(rows)

    def head(self, features: Tensor) -> Tensor:
        return wide_linear(features, self.ff_out.weight)
