"""Meissonic (arXiv 2410.08261, section 3): an MM-DiT over masked image tokens, in plain torch.

Parameter names are those of the published checkpoints, so that they load unchanged. Both layouts:
the 1024 px one halves the token grid before the blocks (downsample / upsample), the 512 px one does not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import MGTError
from ...kernels.block import attention, modulate, needs_plain, norm_rotate
from ...kernels.fused_linear import FusedLinear, Fusing
from ...patches.token_cache import Memory
from ...patches.token_merging import (
    NO_MERGES,
    BlockMerges,
    Merge,
    Tables,
    attention_mask,
    merged,
    merged_tables,
    unmerged,
)
from ...registry import BACKBONES
from ...types import Condition
from ..base import Backbone
from ..hooks import NO_PATCHES, Patches

MICRO_DIM = 256  # sinusoid width of each of the five micro-conditions
TIME_DIM = 256
FP16_LIMIT = 65504
CPU_ROWS = 512


@dataclass(frozen=True)
class MeissonicConfig:
    """Sizes of a Meissonic network, named as in the published transformer/config.json."""

    num_layers: int
    num_single_layers: int
    attention_head_dim: int
    num_attention_heads: int
    joint_attention_dim: int
    pooled_projection_dim: int
    axes_dims_rope: tuple[int, int, int]
    vocab_size: int
    codebook_size: int
    downsample: bool = False
    upsample: bool = False

    @classmethod
    def from_dict(cls, values: dict) -> "MeissonicConfig":
        """Raises MGTError naming missing or contradicting entries; unknown entries are ignored."""
        if values.get("guidance_embeds"):
            raise MGTError("transformer config has guidance_embeds true; only networks without it are supported")
        missing = [f.name for f in fields(cls) if f.name not in values and f.name not in ("downsample", "upsample")]
        if missing:
            raise MGTError(f"transformer config lacks {', '.join(missing)}")
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        try:
            known["axes_dims_rope"] = tuple(int(d) for d in known["axes_dims_rope"])
        except (TypeError, ValueError):
            raise MGTError(
                f"transformer config has axes_dims_rope {known['axes_dims_rope']!r}; expected three even numbers"
            ) from None
        return cls(**known)

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a number of 0 or more")
        if len(self.axes_dims_rope) != 3 or any(d % 2 or d < 2 for d in self.axes_dims_rope):
            raise MGTError(
                f"transformer config has axes_dims_rope {list(self.axes_dims_rope)}; expected three even numbers"
            )
        if sum(self.axes_dims_rope) != self.attention_head_dim:
            raise MGTError(
                f"transformer config has axes_dims_rope {list(self.axes_dims_rope)}, which must add up to "
                f"attention_head_dim {self.attention_head_dim}"
            )
        if self.pooled_projection_dim != self.width:
            raise MGTError(
                f"transformer config has pooled_projection_dim {self.pooled_projection_dim}, which must equal "
                f"num_attention_heads x attention_head_dim = {self.width}"
            )
        if self.codebook_size >= self.vocab_size:
            raise MGTError(
                f"transformer config has vocab_size {self.vocab_size}, which must exceed codebook_size "
                f"{self.codebook_size} to hold the mask token"
            )
        if self.downsample != self.upsample:
            raise MGTError("transformer config sets only one of downsample and upsample; they belong together")

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def mask_id(self) -> int:
        return self.vocab_size - 1


@dataclass(frozen=True)
class Prepared:
    """What depends only on the condition and the grid: computed once a run.

    context: [B, L, C] projected text. pooled: [B, C] its share of the modulation input.
    cos, sin: [L + n, head_dim / 2] float32 rotary tables, text rows first (position 0: no rotation).
    """

    context: Tensor
    pooled: Tensor
    cos: Tensor
    sin: Tensor
    grid: tuple[int, int]


def sinusoid(values: Tensor, dim: int) -> Tensor:
    """[...] -> [..., dim] float32: cosines then sines of the values at frequencies 1 ... 1/10000."""
    half = dim // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, device=values.device, dtype=torch.float32) / half)
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary_tables(text_length: int, grid: tuple[int, int], axes: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """cos and sin [text_length + h*w, sum(axes) / 2] float32 for positions (0, y, x); text sits at (0, 0, 0)."""
    h, w = grid
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    image = torch.stack([torch.zeros_like(y), y, x], dim=-1).reshape(-1, 3)
    ids = torch.cat([torch.zeros(text_length, 3, dtype=torch.long), image]).double()
    angles = torch.cat(
        [
            ids[:, i, None] / 10000.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
            for i, dim in enumerate(axes)
        ],
        dim=-1,
    )
    return angles.cos().float(), angles.sin().float()


def in_parts(compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """`compute` of all rows [B, S, ...], on a CPU some hundred at a time: the wide values in between stay in its
    caches, and do not need fresh pages from the system every time."""
    parts = rows[0].shape[:2].numel() // CPU_ROWS
    if rows[0].device.type != "cpu" or parts < 2 or needs_plain():
        return compute(*rows)
    pieces = zip(*(values.flatten(0, 1).chunk(parts) for values in rows), strict=True)
    return torch.cat([compute(*piece) for piece in pieces]).unflatten(0, rows[0].shape[:2])


class TwoLayer(nn.Module):
    """linear -> SiLU -> linear, the embedder of timestep, pooled text and micro-conditions."""

    def __init__(self, dim_in: int, dim: int, bias: bool = True):
        super().__init__()
        self.linear_1 = nn.Linear(dim_in, dim, bias=bias)
        self.linear_2 = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeTextEmbed(nn.Module):
    def __init__(self, dim: int, pooled_dim: int):
        super().__init__()
        self.timestep_embedder = TwoLayer(TIME_DIM, dim)
        self.text_embedder = TwoLayer(pooled_dim, dim)


class Modulation(nn.Module):
    """SiLU and one linear layer: `parts` vectors [B, C] that shift, scale and gate a block."""

    def __init__(self, dim: int, parts: int):
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(dim, parts * dim)

    def forward(self, embedding: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(embedding)).chunk(self.parts, dim=-1)


class GELUProjection(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        # Index 1 is the dropout of the published module list; it holds no weights.
        self.net = nn.Sequential(GELUProjection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return in_parts(self.net, x)


def split_heads(x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values side by side [B, S, 3 * heads * D] -> three of [B, heads, S, D]."""
    return x.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


class Rows(NamedTuple):
    """The rows that an attention computes. cos, sin: their rotary tables, [S, D / 2] or [B, S, D / 2]. merge:
    how tokens share them. memory: of a token cache, where keys and values of other rows lie."""

    cos: Tensor
    sin: Tensor
    merge: Merge | None = None
    memory: Memory | None = None


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Rows) -> Tensor:
    """q, k, v: [B, heads, S, D] -> [B, S, heads * D]."""
    if rows.memory is not None:
        k, v = rows.memory(k, v, rows.merge)
    out = attention(q, k, v, attention_mask(rows.merge))
    return out.transpose(1, 2).flatten(2)


class SingleAttention(Fusing):
    """Self-attention over text and image together, one set of weights."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        self.to_qkv = FusedLinear(("to_q", "to_k", "to_v"), dim, dim)
        self.norm_q, self.norm_k = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(2))

    def qkv(self, x: Tensor, cos: Tensor, sin: Tensor, top_down: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """[B, S, C] and the rotary tables of its rows -> three of [B, heads, S, D].

        top_down: [B, S, C] that joins through the value projection, without its bias: 0 changes nothing."""
        q, k, v = split_heads(self.to_qkv(x), self.heads)
        if top_down is not None:
            v = v + self.to_qkv.product("to_v", top_down).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return *norm_rotate(q, k, self.norm_q.weight, self.norm_k.weight, cos, sin), v

    def forward(self, x: Tensor, rows: Rows, top_down: Tensor | None = None) -> Tensor:
        return attend(*self.qkv(x, rows.cos, rows.sin, top_down), rows)


class JointAttention(SingleAttention):
    """Attention over text and image together, each stream with its own projections."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__(heads, head_dim)
        dim = heads * head_dim
        self.add_qkv_proj = FusedLinear(("add_q_proj", "add_k_proj", "add_v_proj"), dim, dim)
        self.norm_added_q, self.norm_added_k = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(2))
        # Index 1 is the dropout of the published module list.
        self.to_out = nn.ModuleList([nn.Linear(dim, dim), nn.Identity()])
        self.to_add_out = nn.Linear(dim, dim)

    def forward(self, image: Tensor, text: Tensor, rows: Rows, top_down: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lead, (cos, sin) = text.shape[1], rows[:2]
        text_q, text_k, text_v = split_heads(self.add_qkv_proj(text), self.heads)
        norms = self.norm_added_q.weight, self.norm_added_k.weight
        text_q, text_k = norm_rotate(text_q, text_k, *norms, cos[..., :lead, :], sin[..., :lead, :])
        own = self.qkv(image, cos[..., lead:, :], sin[..., lead:, :], top_down)
        joined = (torch.cat(parts, dim=2) for parts in zip((text_q, text_k, text_v), own, strict=True))
        out = attend(*joined, rows)
        out_text, out_image = out.split([text.shape[1], image.shape[1]], dim=1)
        return self.to_out[0](out_image), self.to_add_out(out_text)


class JointBlock(nn.Module):
    """Text and image streams with weights of their own, attending to each other."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm1 = Modulation(dim, 6)
        self.norm1_context = Modulation(dim, 6)
        self.attn = JointAttention(heads, head_dim)
        self.ff = FeedForward(dim)
        self.ff_context = FeedForward(dim)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        embedding: Tensor,
        tables: Tables,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.norm1(embedding)
        t_shift, t_scale, t_gate, t_mlp_shift, t_mlp_scale, t_mlp_gate = self.norm1_context(embedding)
        normed = merged(merges.attention, modulate(image, shift, scale))
        merge = merges.after(text.shape[1]).attention
        rows = Rows(*merged_tables(merge, tables), merge, memory)
        attn_image, attn_text = self.attn(normed, modulate(text, t_shift, t_scale), rows, top_down)
        image = torch.addcmul(image, gate[:, None], unmerged(merges.attention, attn_image))
        mlp = self.ff(merged(merges.mlp, modulate(image, mlp_shift, mlp_scale)))
        image = torch.addcmul(image, mlp_gate[:, None], unmerged(merges.mlp, mlp))
        text = torch.addcmul(text, t_gate[:, None], attn_text)
        text = torch.addcmul(text, t_mlp_gate[:, None], self.ff_context(modulate(text, t_mlp_shift, t_mlp_scale)))
        return image, within_half(text)


class SingleBlock(nn.Module):
    """One stream over text and image; attention and MLP in parallel."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm = Modulation(dim, 3)
        self.proj_mlp = nn.Linear(dim, 4 * dim)
        self.proj_out = nn.Linear(5 * dim, dim)
        self.attn = SingleAttention(heads, head_dim)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        tables: Tables,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C], text first; `merges` speak of all its rows."""
        shift, scale, gate = self.norm(embedding)
        normed = modulate(x, shift, scale)
        rows = Rows(*merged_tables(merges.attention, tables), merges.attention, memory)
        attn = self.attn(merged(merges.attention, normed), rows, top_down)
        if merges.attention is merges.mlp:
            out = unmerged(merges.mlp, in_parts(self.out, attn, merged(merges.mlp, normed)))
        else:
            mlp = unmerged(merges.mlp, self.mlp(merged(merges.mlp, normed)))
            out = self.proj_out(torch.cat([unmerged(merges.attention, attn), mlp], dim=-1))
        return within_half(torch.addcmul(x, gate[:, None], out))

    def mlp(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj_mlp(x), approximate="tanh")

    def out(self, attn: Tensor, x: Tensor) -> Tensor:
        """[..., C] after attention and before the MLP -> what the block adds, before its gate."""
        return self.proj_out(torch.cat([attn, self.mlp(x)], dim=-1))


def within_half(x: Tensor) -> Tensor:
    """Keeps float16 activations finite, as the published network does."""
    return x.clamp(-FP16_LIMIT, FP16_LIMIT) if x.dtype == torch.float16 else x


class TokenEmbed(nn.Module):
    def __init__(self, vocab_size: int, dim: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, dim)
        self.layer_norm = nn.RMSNorm(dim, eps=1e-6)
        self.conv = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, h, w] -> [B, h, w, C]."""
        return F.linear(self.layer_norm(self.embeddings(tokens)), self.conv.weight.flatten(1))


class Halve(nn.Module):
    """Channel norm, then a 2x2 convolution of stride 2. [B, h, w, C] -> [B, h / 2, w / 2, C].

    Here and in the other convolutions the weights are stored as the checkpoints have them and applied as
    matrix products, which stay float32 on GPUs where convolutions may not.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        self.conv = nn.Conv2d(dim, dim, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = self.norm(x).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, h/2, 2, w/2, 2, C]
        return F.linear(squares.permute(0, 1, 3, 5, 2, 4).flatten(3), self.conv.weight.flatten(1))


class Double(nn.Module):
    """Channel norm, then a transposed 2x2 convolution of stride 2. [B, h, w, C] -> [B, 2h, 2w, C]."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        self.conv = nn.ConvTranspose2d(dim, dim, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = F.linear(self.norm(x), self.conv.weight.flatten(1).T).unflatten(3, (-1, 2, 2))
        return squares.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)


class TokenHead(nn.Module):
    """Features to logits. Stored as 1x1 convolutions, applied cell by cell to any subset of cells."""

    def __init__(self, dim: int, codebook_size: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 1, bias=False)
        self.layer_norm = nn.RMSNorm(dim, eps=1e-6)
        self.conv2 = nn.Conv2d(dim, codebook_size, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[..., C] -> [..., V]."""
        hidden = self.layer_norm(F.linear(features, self.conv1.weight.flatten(1)))
        return F.linear(hidden, self.conv2.weight.flatten(1))


@BACKBONES.register("meissonic")
class MeissonicTransformer(Backbone):
    """The network of arXiv 2410.08261: tokens, text, pooled text and micro-conditions to logits."""

    config_class = MeissonicConfig
    condition_fields = ("hidden", "pooled", "micro")
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb"})

    def __init__(self, config: MeissonicConfig):
        super().__init__()
        self.config = config
        dim, heads, head_dim = config.width, config.num_attention_heads, config.attention_head_dim
        self.embed = TokenEmbed(config.vocab_size, dim)
        self.down_block, self.up_block = nn.ModuleDict(), nn.ModuleDict()
        if config.downsample:
            self.down_block["downsample"] = Halve(dim)
            self.up_block["upsample"] = Double(dim)
        self.project_to_hidden_norm = nn.RMSNorm(dim, eps=1e-6)
        self.project_to_hidden = nn.Linear(dim, dim, bias=False)
        self.context_embedder = nn.Linear(config.joint_attention_dim, dim)
        self.encoder_proj_layer_norm = nn.RMSNorm(dim, eps=1e-6)
        self.cond_embed = TwoLayer(5 * MICRO_DIM + config.pooled_projection_dim, dim, bias=False)
        self.time_text_embed = TimeTextEmbed(dim, config.pooled_projection_dim)
        self.transformer_blocks = nn.ModuleList(JointBlock(heads, head_dim) for _ in range(config.num_layers))
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(heads, head_dim) for _ in range(config.num_single_layers)
        )
        self.project_from_hidden_norm = nn.RMSNorm(dim, eps=1e-6)
        self.project_from_hidden = nn.Linear(dim, dim, bias=False)
        self.mlm_layer = TokenHead(dim, config.codebook_size)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "mlm_layer.conv2.weight" in shapes and "context_embedder.weight" in shapes

    @property
    def mask_id(self) -> int:
        return self.config.mask_id

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def trained_grid(self) -> tuple[int, int]:
        return (64, 64) if self.config.downsample else (32, 32)

    @property
    def grid_multiple(self) -> int:
        return 2 if self.config.downsample else 1

    @property
    def kept_width(self) -> int:
        return 2 * self.config.width * (self.config.num_layers + self.config.num_single_layers)

    @property
    def condition_widths(self) -> dict[str, int]:
        return {"hidden": self.config.joint_attention_dim, "pooled": self.config.pooled_projection_dim, "micro": 5}

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        dtype = self.encoder_proj_layer_norm.weight.dtype  # of a layer that is never quantized
        micro = sinusoid(condition.micro, MICRO_DIM).flatten(1).to(dtype)
        pooled = self.cond_embed(torch.cat([condition.pooled.to(dtype), micro], dim=-1))
        context = self.encoder_proj_layer_norm(self.context_embedder(condition.hidden.to(dtype)))
        inner = tuple(side // self.grid_multiple for side in grid)
        cos, sin = rotary_tables(context.shape[1], inner, self.config.axes_dims_rope)
        return Prepared(
            context=context,
            pooled=self.time_text_embed.text_embedder(pooled),
            cos=cos.to(context.device),
            sin=sin.to(context.device),
            grid=inner,
        )

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, patches: Patches = NO_PATCHES) -> Tensor:
        dtype = prepared.context.dtype
        # float32 until here: 63 * 1000 is not a half-precision number.
        time = sinusoid(timestep.float() * 1000, TIME_DIM).to(dtype)
        embedding = self.time_text_embed.timestep_embedder(time) + prepared.pooled
        x = self.embed(tokens)
        if patches.perturb is not None:
            x = patches.perturb(x)
        if self.config.downsample:
            x = self.down_block["downsample"](x)
        image = self.project_to_hidden(self.project_to_hidden_norm(x.flatten(1, 2)))
        text, tables = prepared.context, (prepared.cos, prepared.sin)
        merging, cache = patches.merging, patches.cache
        if cache:
            image, text, tables = cache.select(image, text, tables)
        above = iter(patches.top_down or ())
        for block in self.transformer_blocks:
            patches.tap(image)
            merges = merging.at("joint", image, prepared.grid) if merging else NO_MERGES
            image, text = block(image, text, embedding, tables, merges, cache and cache.memory(), next(above, None))
        joined, lead = torch.cat([text, image], dim=1), text.shape[1]
        for block in self.single_transformer_blocks:
            patches.tap(joined[:, lead:])
            own = next(above, None)
            own = None if own is None else F.pad(own, (0, 0, lead, 0))
            merges = merging.at("single", joined[:, lead:], prepared.grid) if merging else NO_MERGES
            joined = block(joined, embedding, tables, merges.after(lead), cache and cache.memory(), own)
        image = cache.whole(joined[:, lead:]) if cache else joined[:, lead:]
        patches.tap(image)
        image = self.project_from_hidden(self.project_from_hidden_norm(image))
        x = image.unflatten(1, prepared.grid)
        return self.up_block["upsample"](x) if self.config.upsample else x

    def head(self, features: Tensor) -> Tensor:
        return self.mlm_layer(features)
