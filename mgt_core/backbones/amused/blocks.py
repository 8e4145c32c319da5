"""Blocks of aMUSEd: transformer layers over the image's rows, and before and after them stages of convolutions over the
grid. Each reads the text by cross-attention.

What a block is told depends on the prompt alone, as aMUSEd knows no timestep: how the pooled text scales and shifts
rows, and keys and values of the text. It is computed once a run, by `given`. Parameter names are those of the
published checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.block import attention
from ...kernels.fused_linear import FusedLinear, Fusing
from ...kernels.streams import heads as by_heads
from ...pulse import beat
from ..hooks import Memory
from ..meissonic.ends import Double, Halve
from ..merge import NO_MERGES, BlockMerges, Merge, attention_mask, merged, unmerged
from .config import AmusedConfig

Seen = Callable[[Tensor, Tensor, Merge | None], None]
EPS = 1e-6  # of the norms in the stages' attention, and below the mean of a response, whatever the config says


@dataclass(frozen=True)
class By:
    """What scales and shifts rows: [B, 1, C] each, 1 + the scale."""

    shift: Tensor
    factor: Tensor

    @classmethod
    def of(cls, product: Tensor) -> "By":
        """product: [B, 2 * C], scale first."""
        scale, shift = product[:, None].chunk(2, dim=-1)
        return cls(shift, 1 + scale)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [B, S, C]."""
        return torch.addcmul(self.shift, x, self.factor)


@dataclass(frozen=True)
class Words:
    """Keys and values of the text, [B, heads, L, D] each."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class ToldLayer:
    """What a transformer layer is told: for each of its norms, and the words that it attends to."""

    norms: tuple[By, By, By]
    words: Words


@dataclass(frozen=True)
class ToldStep:
    """What a step of a stage is told: for its convolutions, and the words of its two attentions."""

    by: By
    words: tuple[Words, Words]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q: [B, heads, S, D]; k, v: [B, heads, R, D] -> [B, S, heads * D]."""
    beat()
    out = attention(q, k, v, mask)
    beat()
    return out.transpose(1, 2).flatten(2)


class AdaNorm(nn.Module):
    """A norm whose rows the pooled text then scales and shifts."""

    def __init__(self, norm: nn.Module, dim: int):
        super().__init__()
        self.norm = norm
        self.linear = nn.Linear(dim, 2 * dim, bias=False)

    def given(self, embedding: Tensor) -> By:
        """embedding: [B, C] pooled text after its SiLU."""
        return By.of(self.linear(embedding))

    def forward(self, x: Tensor, by: By) -> Tensor:
        return by(self.norm(x))


def out_of(dim: int) -> nn.ModuleList:
    """Index 1 is the dropout of the published module list."""
    return nn.ModuleList([nn.Linear(dim, dim, bias=False), nn.Identity()])


class SelfAttention(Fusing):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = FusedLinear(("to_q", "to_k", "to_v"), dim, dim, bias=False)
        self.to_out = out_of(dim)

    def forward(
        self, x: Tensor, merge: Merge | None = None, memory: Memory | None = None, top_down: Tensor | None = None
    ) -> Tensor:
        """x: [B, S, C]. top_down: [B, S, C] that joins through the value projection: 0 changes nothing."""
        product = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        if top_down is not None:
            product[:, :, 2].add_(self.to_qkv.product("to_v", top_down).unflatten(-1, (self.heads, -1)))
        q, k, v = by_heads(product)
        if memory is not None:
            k, v = memory(k, v, merge)
        return self.to_out[0](attend(q, k, v, attention_mask(merge)))


class CrossAttention(Fusing):
    """Attention of the image's rows to the text's."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = FusedLinear(("to_k", "to_v"), dim, dim, bias=False)
        self.to_out = out_of(dim)

    def given(self, text: Tensor) -> Words:
        """text: [B, L, C]."""
        return Words(*by_heads(self.to_kv(text).unflatten(-1, (2, self.heads, -1))))

    def forward(self, x: Tensor, words: Words, merge: Merge | None = None, seen: Seen | None = None) -> Tensor:
        """x: [B, S, C], merged by `merge`."""
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if seen is not None:
            seen(q, words.keys, merge)
        return self.to_out[0](attend(q, words.keys, words.values))


class GatedGELU(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(dim, 2 * hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        values, gate = self.proj(x).chunk(2, dim=-1)
        return values * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        # Index 1 is the dropout of the published module list; it holds no weights.
        self.net = nn.Sequential(GatedGELU(dim, hidden), nn.Identity(), nn.Linear(hidden, dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Layer(nn.Module):
    """A transformer layer: attention among the image's rows, attention to the text, MLP."""

    def __init__(self, config: AmusedConfig):
        super().__init__()
        dim, heads, eps = config.hidden_size, config.num_attention_heads, config.layer_norm_eps
        self.norm1 = AdaNorm(nn.RMSNorm(dim, eps), dim)
        self.attn1 = SelfAttention(dim, heads)
        self.norm2 = AdaNorm(nn.RMSNorm(dim, eps), dim)
        self.attn2 = CrossAttention(dim, heads)
        self.norm3 = AdaNorm(nn.LayerNorm(dim, eps, bias=False), dim)
        self.ff = FeedForward(dim, config.intermediate_size)

    def given(self, embedding: Tensor, text: Tensor) -> ToldLayer:
        norms = tuple(norm.given(embedding) for norm in (self.norm1, self.norm2, self.norm3))
        return ToldLayer(norms, self.attn2.given(text))

    def forward(
        self,
        x: Tensor,
        told: ToldLayer,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C]. What merges before attention merges before both."""
        first, second, third = told.norms
        merge = merges.attention
        x = x + unmerged(merge, self.attn1(merged(merge, self.norm1(x, first)), merge, memory, top_down))
        x = x + unmerged(merge, self.attn2(merged(merge, self.norm2(x, second)), told.words, merge, seen))
        return x + unmerged(merges.mlp, self.ff(merged(merges.mlp, self.norm3(x, third))))


class ResponseNorm(nn.Module):
    """Global response normalization (ConvNeXt V2, arXiv 2301.00808, section 4): channels by their share of what an
    image holds in all."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, dim)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] -> [B, h, w, C]."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = response / (response.mean(-1, keepdim=True) + EPS)
        return torch.addcmul(self.beta, x, torch.addcmul(torch.ones_like(share), self.gamma, share))


class ConvBlock(nn.Module):
    """Convolution of each channel by itself, then an MLP over the channels; the pooled text scales and shifts what
    comes out (ConvNeXt)."""

    def __init__(self, dim: int, config: AmusedConfig):
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm = nn.RMSNorm(dim, config.layer_norm_eps)
        self.channelwise_linear_1 = nn.Linear(dim, 4 * dim, bias=False)
        self.channelwise_norm = ResponseNorm(4 * dim)
        self.channelwise_linear_2 = nn.Linear(4 * dim, dim, bias=False)
        self.cond_embeds_mapper = nn.Linear(config.hidden_size, 2 * dim, bias=False)

    def given(self, embedding: Tensor) -> By:
        return By.of(self.cond_embeds_mapper(embedding))

    def forward(self, x: Tensor, by: By) -> Tensor:
        """[B, h, w, C] -> [B, h, w, C]."""
        near = self.norm(self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        beat()
        wide = self.channelwise_norm(F.gelu(self.channelwise_linear_1(near)))
        beat()
        return by((x + self.channelwise_linear_2(wide)).flatten(1, 2)).unflatten(1, x.shape[1:3])


class TextBlock(nn.Module):
    """Attention to the text, twice."""

    def __init__(self, dim: int, config: AmusedConfig):
        super().__init__()
        other = config.hidden_size != dim
        self.kv_mapper = nn.Linear(config.hidden_size, dim, bias=False) if other else None
        self.norm1, self.norm2 = (nn.RMSNorm(dim, EPS) for _ in range(2))
        self.attn1, self.attn2 = (CrossAttention(dim, config.block_num_heads) for _ in range(2))

    def given(self, text: Tensor) -> tuple[Words, Words]:
        if self.kv_mapper is not None:
            text = self.kv_mapper(F.silu(text))
        return self.attn1.given(text), self.attn2.given(text)

    def forward(self, x: Tensor, words: tuple[Words, Words]) -> Tensor:
        """x: [B, S, C]."""
        x = x + self.attn1(self.norm1(x), words[0])
        return x + self.attn2(self.norm2(x), words[1])


class Stage(nn.Module):
    """Convolutions and attention to the text in turn, before or after the transformer layers. In some networks it
    begins by halving the grid, or ends by doubling it."""

    def __init__(self, config: AmusedConfig, halves: bool = False, doubles: bool = False):
        super().__init__()
        dim, eps, steps = config.block_out_channels, config.layer_norm_eps, range(config.num_res_blocks)
        self.downsample = Halve(dim, eps) if halves else None
        self.res_blocks = nn.ModuleList(ConvBlock(dim, config) for _ in steps)
        self.attention_blocks = nn.ModuleList(TextBlock(dim, config) for _ in steps)
        self.upsample = Double(dim, eps) if doubles else None

    def given(self, embedding: Tensor, text: Tensor) -> list[ToldStep]:
        pairs = zip(self.res_blocks, self.attention_blocks, strict=True)
        return [ToldStep(conv.given(embedding), words.given(text)) for conv, words in pairs]

    def forward(self, x: Tensor, told: list[ToldStep]) -> Tensor:
        """[B, h, w, C] -> [B, h', w', C]."""
        if self.downsample is not None:
            x = self.downsample(x)
        for conv, words, step in zip(self.res_blocks, self.attention_blocks, told, strict=True):
            beat()
            x = conv(x, step.by)
            beat()
            x = words(x.flatten(1, 2), step.words).unflatten(1, x.shape[1:3])
        return x if self.upsample is None else self.upsample(x)
