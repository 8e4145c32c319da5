"""Halton-MaskGIT (arXiv 2503.17076): a DiT-like masked transformer conditioned on a class, in plain torch.

Published as .pth files without a config: every size but the number of heads is read from the tensors, and
that follows from the width in all released variants. Parameter names are those of the checkpoints.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError
from ..kernels.widened import in_float32
from ..pulse import beat
from ..registry import BACKBONES
from ..types import UNCONDITIONAL, Condition
from .base import Backbone
from .branch import FACTOR, Branch, PooledAnchor
from .class_grid import ClassGridBackbone, selected
from .hooks import NO_HOOKS, Hooks, Memory
from .merge import NO_MERGES, BlockMerges, Merge, attention_mask, merged, unmerged

EPS = 1e-5
HEADS = {384: 6, 512: 6, 768: 12, 1024: 16, 1152: 16}  # of the released widths: tiny, small, base, large, xlarge
GUIDANCE = {384: 2.5, 512: 2.0, 768: 1.7}  # of the widths up to base, 1 + w of the authors' table; larger ones 1.5
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class HaltonConfig:
    """Sizes of a Halton-MaskGIT. inner: width of all heads together, heads * (hidden // heads), which is less
    than hidden where that does not divide (510 of 512 in the small one). proj: cells a side that share a row."""

    hidden: int
    inner: int
    heads: int
    depth: int
    feed_forward: int
    codebook_size: int
    num_classes: int
    tokens: int
    registers: int
    proj: int

    @classmethod
    def from_shapes(cls, shapes: Shapes, heads: int | None = None) -> "HaltonConfig":
        """Raises MGTError where the number of heads is neither given nor that of a released width."""
        vocabulary, hidden = shapes["tok_emb.weight"]
        first = "transformer.layers.0."
        try:
            inner, feed_forward = shapes[first + "attn.wq.weight"][0], shapes[first + "ff.w1.weight"][0]
            classes, tokens = shapes["cls_emb.weight"][0] - 1, shapes["pos_emb.weight"][0]
        except KeyError as error:
            raise MGTError(f"the weights lack {error.args[0]}, which tells the sizes of the network") from None
        heads = HEADS.get(hidden) if heads is None else heads
        if type(heads) is not int or heads < 1 or heads * (hidden // heads) != inner:
            raise MGTError(
                f"the number of heads is {heads!r}, which does not fit a width of {hidden}: known are those of "
                f"{', '.join(map(str, HEADS))}; give another as heads in the .json file beside the weights"
            )
        if math.isqrt(tokens) ** 2 != tokens:
            raise MGTError(f"the weights have {tokens} positions; expected a square number")
        return cls(
            hidden=hidden,
            inner=inner,
            heads=heads,
            depth=sum(name.endswith(".ln1.weight") for name in shapes),
            feed_forward=feed_forward,
            codebook_size=vocabulary - 1,
            num_classes=classes,
            tokens=tokens,
            registers=shapes.get("reg_tokens.weight", (0,))[0],
            proj=2 if "in_proj.weight" in shapes else 1,
        )


@dataclass(frozen=True)
class Prepared:
    """What depends only on the class. embedded: [B, C], it before the modulation. blocks: for each block six vectors
    [B, 1, C] that shift, scale and gate its two halves; last: shift and scale of the last norm. What scales is 1 + what
    the network says."""

    embedded: Tensor
    blocks: list[tuple[Tensor, ...]]
    last: tuple[Tensor, ...]


class RMSNorm(nn.RMSNorm):
    """With a bias where `bias` is true."""

    def __init__(self, dim: int, bias: bool = False):
        super().__init__(dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.bias is None else x + self.bias


def modulation(dim: int, parts: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(dim, parts * dim))


def scaled(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """1 added to the scales in shift, scale, gate, shift, scale, ..."""
    return tuple(1 + part if place % 3 == 1 else part for place, part in enumerate(parts))


def modulate(x: Tensor, shift: Tensor, factor: Tensor) -> Tensor:
    return torch.addcmul(shift, x, factor)


class Attention(nn.Module):
    def __init__(self, config: HaltonConfig):
        super().__init__()
        self.heads = config.heads
        self.wq, self.wk, self.wv = (nn.Linear(config.hidden, config.inner, bias=False) for _ in range(3))
        self.wo = nn.Linear(config.inner, config.hidden, bias=False)

    def forward(
        self, x: Tensor, top_down: Tensor | None = None, merge: Merge | None = None, memory: Memory | None = None
    ) -> Tensor:
        """x, top_down: [B, S, C] -> [B, S, C]. Queries and keys are normalized over all heads at once, without weights.
        What comes from above joins through the value projection: 0 changes nothing."""
        value = self.wv(x) if top_down is None else self.wv(x) + self.wv(top_down)
        q, k = (F.rms_norm(y, y.shape[-1:], eps=EPS) for y in (self.wq(x), self.wk(x)))
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, value))
        if memory is not None:
            k, v = memory(k, v, merge)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask(merge))
        return self.wo(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config: HaltonConfig):
        super().__init__()
        self.w1 = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.w2 = nn.Linear(config.feed_forward, config.hidden, bias=False)
        self.w3 = nn.Linear(config.hidden, config.feed_forward, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, config: HaltonConfig):
        super().__init__()
        self.mlp = modulation(config.hidden, 6)
        self.ln1, self.ln2 = RMSNorm(config.hidden), RMSNorm(config.hidden)
        self.attn = Attention(config)
        self.ff = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        parts: tuple[Tensor, ...],
        top_down: Tensor | None = None,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        normed = merged(merges.attention, modulate(self.ln1(x), shift1, scale1))
        attended = self.attn(normed, top_down, merges.attention, memory)
        beat()
        x = torch.addcmul(x, gate1, unmerged(merges.attention, attended))
        fed = self.ff(merged(merges.mlp, modulate(self.ln2(x), shift2, scale2)))
        return torch.addcmul(x, gate2, unmerged(merges.mlp, fed))


class LastNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm_final = RMSNorm(dim, bias=True)
        self.mlp = modulation(dim, 2)


class ClassModulationBranch(Branch):
    """For Halton-MaskGIT, which nobody has published. The class stays in the second pass, where it modulates every
    block: only the image is blank, and only the image's values are added to. The anchor comes from the class too."""

    def __init__(self, layers: int, width: int):
        super().__init__(layers, width)
        self.cls_anchor_gen = PooledAnchor(width)

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "ClassModulationBranch":
        return cls(network.config.depth, network.config.hidden)

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.embedded)


@BACKBONES.register("halton")
class HaltonTransformer(ClassGridBackbone):
    """Tokens and a class to logits. The head shares the token embedding; its column for the mask is not used."""

    config_class = HaltonConfig
    self_guidance_branch = ClassModulationBranch
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip"})
    widened = ("tok_emb.", "head_bias")
    needs_config = False

    def __init__(self, config: HaltonConfig):
        super().__init__()
        self.config = config
        dim = config.hidden
        self.cls_emb = nn.Embedding(config.num_classes + 1, dim)
        self.tok_emb = nn.Embedding(config.codebook_size + 1, dim)
        self.pos_emb = nn.Embedding(config.tokens, dim)
        if config.proj > 1:
            self.in_proj = nn.Conv2d(dim, dim, config.proj, stride=config.proj, bias=False)
            self.out_proj = nn.Conv2d(dim, dim * config.proj**2, 1, bias=False)
        if config.registers:
            self.reg_tokens = nn.Embedding(config.registers, dim)
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(Block(config) for _ in range(config.depth))})
        self.last_norm = LastNorm(dim)
        self.head_bias = nn.Parameter(torch.zeros(config.codebook_size + 1))

    @property
    def published_settings(self) -> dict:
        """Of the released models (README.md and launch/eval_test_to_img.sh); temperature and schedule are those of
        their confidence sampler, for runs that do not follow the Halton order."""
        return {
            "steps": 32,
            "cfg": GUIDANCE.get(self.config.hidden, 1.5),
            "sampler": "halton",
            "sampler_settings": {"warmup": 1},
            "schedule": "arccos",
            "temperature": (4.5, 0.0),
        }

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return "tok_emb.weight" in shapes and "transformer.layers.0.attn.wq.weight" in shapes

    @classmethod
    def configure(cls, config: dict, shapes: Shapes) -> HaltonConfig:
        return HaltonConfig.from_shapes(shapes, config.get("heads"))

    @staticmethod
    def leaves(name: str) -> bool:
        return name == "head.weight"  # stored a second time

    @staticmethod
    def renamed(name: str) -> str:
        return "head_bias" if name == "head.bias" else name  # `head` is what every backbone calls its method

    @property
    def mask_id(self) -> int:
        return self.config.codebook_size

    @property
    def cells(self) -> int:
        return self.config.tokens

    @property
    def has_unconditional_class(self) -> bool:
        return True

    @property
    def row_side(self) -> int:
        return self.config.proj

    @property
    def kept_width(self) -> int:
        return 2 * self.config.depth * self.config.inner + self.config.hidden

    @property
    def row_width(self) -> int:
        return self.config.hidden

    @property
    def lead_rows(self) -> int:
        return self.config.registers

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        labels = condition.labels.masked_fill(condition.labels == UNCONDITIONAL, self.num_classes)
        embedded = self.cls_emb(labels)
        parts = [scaled(block.mlp(embedded[:, None]).chunk(6, dim=-1)) for block in self.transformer["layers"]]
        return Prepared(embedded, parts, scaled(self.last_norm.mlp(embedded[:, None]).chunk(2, dim=-1)))

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        x = (self.tok_emb(tokens).flatten(1, 2) + self.pos_emb.weight).unflatten(1, tokens.shape[1:])
        if hooks.perturb is not None:
            x = hooks.perturb(x)
        if self.config.proj > 1:
            x = self.halve(x)
        grid, registers = x.shape[1:3], self.config.registers
        x = x.flatten(1, 2)
        if registers:  # first here, last in the published network: their order has no meaning
            x = torch.cat([self.reg_tokens.weight.expand(len(x), -1, -1), x], dim=1)
        merging, cache, above = hooks.merging, hooks.cache, iter(hooks.top_down or ())
        x, lead, rows = selected(cache, x, registers)

        def through(x: Tensor, blocks: Iterable[tuple[Block, tuple[Tensor, ...]]]) -> Tensor:
            for block, parts in blocks:
                beat()
                hooks.tap(x[:, lead:])
                own = next(above, None)
                own = None if own is None else F.pad(own, (0, 0, lead, 0))
                merges = merging.at("single", x[:, lead:], grid) if merging else NO_MERGES
                x = block(x, parts, own, merges.after(lead), cache and cache.memory())
            return x

        def others(x: Tensor) -> Tensor:
            x = through(x, blocks)
            return cache.whole(x, registers) if cache else x

        blocks, skip = zip(self.transformer["layers"], prepared.blocks, strict=True), hooks.skip
        x = skip.past(others, through(x, islice(blocks, skip.first)), rows) if skip else others(x)
        x = x[:, registers:]
        hooks.tap(x)
        x = x.unflatten(1, grid)
        if self.config.proj > 1:
            x = self.double(x)
        shift, scale = (part[:, None] for part in prepared.last)
        return modulate(self.last_norm.norm_final(x), shift, scale)

    def halve(self, x: Tensor) -> Tensor:
        """in_proj as a matrix product. [B, h, w, C] -> [B, h / proj, w / proj, C]."""
        p = self.config.proj
        squares = x.unflatten(2, (-1, p)).unflatten(1, (-1, p))  # [B, h/p, p, w/p, p, C]
        return F.linear(squares.permute(0, 1, 3, 5, 2, 4).flatten(3), self.in_proj.weight.flatten(1))

    def double(self, x: Tensor) -> Tensor:
        """out_proj as a matrix product, then a pixel shuffle. [B, h, w, C] -> [B, h * proj, w * proj, C]."""
        p = self.config.proj
        squares = F.linear(x, self.out_proj.weight.flatten(1)).unflatten(3, (-1, p, p))  # [B, h, w, C, p, p]
        return squares.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)

    def head(self, features: Tensor) -> Tensor:
        return self.vocabulary(features, self.codebook_size)

    def vocabulary(self, features: Tensor, width: int | None = None) -> Tensor:
        """[..., C] -> logits of the first `width` entries of the vocabulary; all, the mask last, by default."""
        weight, bias = self.tok_emb.weight, self.head_bias
        if features.dtype == torch.float32:
            weight, bias = in_float32(weight), in_float32(bias)
        return F.linear(features, weight[:width], bias[:width])
