"""Phi-1.5 (arXiv 2309.05463) with normalized queries and keys, as Show-o trains it, in plain torch.

Parameter names are those of the published checkpoints, without what stands before all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import MGTError, finite_number
from ...kernels.block import attention
from ...kernels.fused_linear import FusedLinear, Fusing
from ...pulse import beat
from ..hooks import Memory
from ..merge import NO_MERGES, BlockMerges, Merge, Tables, merged, merged_tables, unmerged
from .rotary import turned
from .sequence import attended

FIRST = "layers.0.self_attn."
# Rows before those that a block is given, which never change: keys and values [B, heads, P, D].
Before = tuple[Tensor, Tensor]
KEPT = ("partial_rotary_factor", "rope_theta", "layer_norm_eps")  # of a config of the language model


@dataclass(frozen=True)
class PhiConfig:
    """Sizes, read from the tensors; the rest named as in the language model's config, by default phi-1.5's."""

    width: int
    heads: int
    layers: int
    hidden: int
    vocab_size: int
    partial_rotary_factor: float = 0.5
    rope_theta: float = 10000.0
    layer_norm_eps: float = 1e-5

    @staticmethod
    def sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Of tensors by the network's names for them."""
        vocabulary, width = shapes["embed_tokens.weight"]
        layers = 0
        while f"layers.{layers}.input_layernorm.weight" in shapes:
            layers += 1
        return {
            "width": width,
            "heads": width // shapes[FIRST + "q_layernorm.weight"][0],
            "layers": layers,
            "hidden": shapes["layers.0.mlp.fc1.weight"][0],
            "vocab_size": vocabulary,
        }

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a number of 1 or more")
        for name, lowest, highest in zip(KEPT, (0, 1, 0), (1, 1e12, 1), strict=True):
            finite_number(f"{name} of the language model's config", getattr(self, name), lowest, highest)
        if self.width % self.heads or self.rotary_dim < 2 or self.rotary_dim % 2:
            raise MGTError(
                f"the transformer has {self.heads} heads in a width of {self.width}, of which "
                f"{self.partial_rotary_factor} turns; expected heads of one width, and an even part of it"
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def rotary_dim(self) -> int:
        return int(self.head_dim * self.partial_rotary_factor)


class Attention(Fusing):
    def __init__(self, config: PhiConfig):
        super().__init__()
        dim = config.width
        self.heads = config.heads
        self.qkv_proj = FusedLinear(("q_proj", "k_proj", "v_proj"), dim, dim)
        self.dense = nn.Linear(dim, dim)
        self.q_layernorm, self.k_layernorm = (nn.LayerNorm(config.head_dim, config.layer_norm_eps) for _ in range(2))

    def projected(self, x: Tensor, tables: Tables, top_down: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, heads, S, D] of rows [B, S, C], the first two normalized and turned."""
        product = self.qkv_proj(x).unflatten(-1, (3, self.heads, -1))
        if top_down is not None:
            product[:, :, 2].add_(self.qkv_proj.product("v_proj", top_down).unflatten(-1, (self.heads, -1)))
        q, k, v = product.permute(2, 0, 3, 1, 4).unbind()
        return turned(self.q_layernorm(q), tables), turned(self.k_layernorm(k), tables), v


class MLP(nn.Module):
    def __init__(self, config: PhiConfig):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(config.width, config.hidden), nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and MLP side by side, after one norm."""

    def __init__(self, config: PhiConfig):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.width, config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        tables: Tables,
        seen: Tensor | None,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
        watched: Callable[[Tensor, Tensor, Merge | None, Tensor | None], None] | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C], marks first; tables: of all rows; seen: [B, 1, 1, P + S or less], what may be
        attended to. before: P rows of words."""
        merge, normed = merges.attention, self.input_layernorm(x)
        q, k, v = self.self_attn.projected(merged(merge, normed), merged_tables(merge, tables), top_down)
        if memory is not None:
            k, v = memory(k, v, merge)
        words = 0
        if before is not None:
            words = before[0].shape[2]
            k, v = (torch.cat(both, dim=2) for both in zip(before, (k, v), strict=True))
        visible = attended(seen, merge and merge.after(words), k.shape[2])
        if watched is not None:
            watched(q, k, merge, visible)
        beat()
        out = attention(q, k, v, visible).transpose(1, 2).flatten(2)
        beat()
        x = x + unmerged(merges.attention, self.self_attn.dense(out))
        return x + unmerged(merges.mlp, self.mlp(merged(merges.mlp, normed)))

    def of_words(self, x: Tensor, tables: Tables, seen: Tensor) -> tuple[Tensor, Before]:
        """Rows of words [B, P, C] after the block, and what rows behind them see of them. seen: [B, 1, P, P]."""
        normed = self.input_layernorm(x)
        q, k, v = self.self_attn.projected(normed, tables)
        beat()
        out = self.self_attn.dense(attention(q, k, v, seen).transpose(1, 2).flatten(2))
        return x + out + self.mlp(normed), (k, v)
