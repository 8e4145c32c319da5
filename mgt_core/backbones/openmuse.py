"""MaskGIT (arXiv 2202.04200) as open-muse and UnlockMGM (arXiv 2410.13136) publish it: a post-norm BERT over
one class token and a fixed square of image tokens.

Parameter names are those of the published checkpoints. A file that also holds the Self-Guidance branch
(cls_anchor_gen, decoders, top_down_transform) loads as the plain network; the branch is read
from the same file by whoever wants it, and acts through the `Hooks` of an evaluation.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError, finite_number
from ..kernels.widened import widened
from ..pulse import beat
from ..registry import BACKBONES
from ..types import Condition
from .base import Backbone
from .branch import FACTOR, TENSORS, Branch
from .class_grid import ClassGridBackbone, selected
from .hooks import NO_HOOKS, Hooks, Memory
from .merge import NO_MERGES, BlockMerges, Merge, attention_mask, merged, unmerged

# What a published config may say beside the sizes, and the only value that this network implements.
IMPLEMENTED = {
    "add_cross_attention": False,
    "layer_norm_embeddings": True,
    "norm_type": "layernorm",
    "project_encoder_hidden_states": False,
    "use_bias": True,
    "use_encoder_layernorm": False,
    "use_maskgit_mlp": True,
    "use_mlm_layer": True,
    "use_mlm_layernorm": True,
    "use_normformer": False,
}


@dataclass(frozen=True)
class OpenMuseConfig:
    """Sizes of an open-muse MaskGIT, named as in the published config.json (the EMA writer's has more entries)."""

    vocab_size: int
    codebook_size: int
    num_classes: int
    num_vq_tokens: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_dict(cls, values: dict) -> "OpenMuseConfig":
        """Raises MGTError naming missing entries and variants that are not implemented."""
        missing = [f.name for f in fields(cls) if f.name not in values and f.name != "layer_norm_eps"]
        if missing:
            raise MGTError(f"transformer config lacks {', '.join(missing)}")
        for name, only in IMPLEMENTED.items():
            if values.get(name, only) != only:
                raise MGTError(f"transformer config has {name} {values[name]!r}; only {only!r} is supported")
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a positive whole number")
        finite_number("layer_norm_eps of the transformer config", self.layer_norm_eps, 0, 1)
        if self.hidden_size % self.num_attention_heads:
            raise MGTError(
                f"transformer config has hidden_size {self.hidden_size}, which must be a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if math.isqrt(self.num_vq_tokens) ** 2 != self.num_vq_tokens:
            raise MGTError(f"transformer config has num_vq_tokens {self.num_vq_tokens}; expected a square number")
        if self.vocab_size != self.codebook_size + self.num_classes + 1:
            raise MGTError(
                f"transformer config has vocab_size {self.vocab_size}; expected codebook_size {self.codebook_size} "
                f"+ num_classes {self.num_classes} + 1 for the mask token"
            )


@dataclass(frozen=True)
class Prepared:
    """class_ids: [B, 1] long, the class as a token of the vocabulary. grid: (height, width)."""

    class_ids: Tensor
    grid: tuple[int, int]


class Embed(nn.Module):
    def __init__(self, config: OpenMuseConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.num_vq_tokens + 1, config.hidden_size)
        self.embeddings_ln = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, S] -> [B, S, C]."""
        return self.embeddings_ln(self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]])


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(
        self, x: Tensor, top_down: Tensor | None = None, merge: Merge | None = None, memory: Memory | None = None
    ) -> Tensor:
        """x, top_down: [B, S, C] -> [B, S, C]. What comes from above joins through the same value projection,
        its bias counted twice (arXiv 2410.13136; TOAST, arXiv 2305.15542)."""
        value = self.value(x) if top_down is None else self.value(x) + self.value(top_down)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.query(x), self.key(x), value))
        if memory is not None:
            k, v = memory(k, v, merge)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask(merge))
        return self.out(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Holds the layer norm that follows it, as the checkpoints do."""

    def __init__(self, config: OpenMuseConfig):
        super().__init__()
        self.intermediate_output = nn.Linear(config.hidden_size, config.intermediate_size)
        self.layer_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_output(F.gelu(self.intermediate_output(x)))


class Layer(nn.Module):
    def __init__(self, config: OpenMuseConfig):
        super().__init__()
        self.attention = Attention(config.hidden_size, config.num_attention_heads)
        self.attn_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        top_down: Tensor | None = None,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
    ) -> Tensor:
        if top_down is not None:
            top_down = merged(merges.attention, top_down)
        attended = self.attention(merged(merges.attention, x), top_down, merges.attention, memory)
        x = self.attn_layer_norm(x + unmerged(merges.attention, attended))
        beat()
        return self.ffn.layer_norm(x + unmerged(merges.mlp, self.ffn(merged(merges.mlp, x))))


class TokenHead(nn.Module):
    def __init__(self, config: OpenMuseConfig):
        super().__init__()
        self.mlm_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.mlm_ln = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.to_logits = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, features: Tensor, width: int | None = None) -> Tensor:
        """[..., C] -> [..., width], the first `width` columns of the vocabulary (all by default)."""
        hidden = self.mlm_ln(F.gelu(self.mlm_dense(features)))
        return F.linear(hidden, self.to_logits.weight[:width], self.to_logits.bias[:width])


class ClassAnchor(nn.Module):
    """An anchor for every class: FACTOR vectors shared by all, FACTOR of its own, weighted and mixed."""

    def __init__(self, width: int, classes: int, factor: int = FACTOR):
        super().__init__()
        self.mlp_p = nn.Embedding(1, width * factor)
        self.mlp_c = nn.Embedding(classes, width * factor)
        self.mlp_f = nn.Linear(factor, 1, bias=False)
        self.mlp_t = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, labels: Tensor) -> Tensor:
        """[B] -> [B, C]."""
        parts = self.mlp_p.weight + self.mlp_c(labels)
        return self.mlp_t(self.layer_norm(self.mlp_f(parts.unflatten(-1, (-1, self.mlp_f.in_features)))[..., 0]))


class ClassBranch(Branch):
    """As published, for the open-muse MaskGIT: the class token is part of the sequence, and blank too in the
    second pass."""

    def __init__(self, layers: int, width: int, classes: int, factor: int = FACTOR):
        super().__init__(layers, width)
        self.cls_anchor_gen = ClassAnchor(width, classes, factor)

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "ClassBranch":
        config = network.config
        return cls(config.num_hidden_layers, config.hidden_size, config.num_classes, factor)

    @property
    def factor(self) -> int:
        return self.cls_anchor_gen.mlp_f.in_features

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.class_ids[:, 0] - network.codebook_size)

    def blank(self, network, prepared):
        return replace(prepared, class_ids=torch.full_like(prepared.class_ids, network.mask_id))

    def training_logits(self, network, features):
        return network.mlm_layer(features)  # classes and the mask token too, as published


@BACKBONES.register("openmuse")
class OpenMuseTransformer(ClassGridBackbone):
    """Tokens and a class to logits. Vocabulary: codes, then classes, then the mask token."""

    config_class = OpenMuseConfig
    self_guidance_branch = ClassBranch
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip"})

    def __init__(self, config: OpenMuseConfig):
        super().__init__()
        self.config = config
        self.embed = Embed(config)
        self.transformer_layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.mlm_layer = TokenHead(config)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "embed.word_embeddings.weight" in shapes and "mlm_layer.mlm_dense.weight" in shapes

    @staticmethod
    def leaves(name: str) -> bool:
        return name.startswith(TENSORS)

    @property
    def published_settings(self) -> dict:
        """Of UnlockMGM (arXiv 2410.13136; evaluations/sample_sg_256.py and _512.py), whose temperature follows the
        grid. known_confidence: the log of the largest float32 (muse/sampling.py)."""
        return {
            "steps": 18,
            "cfg": 1.0,
            "temperature": (25.0 if self.cells <= 16 * 16 else 45.0, 0.0),
            "temperature_shape": "compounding",
            "known_confidence": math.log(torch.finfo(torch.float32).max),
            "schedule": "cosine",
        }

    @property
    def mask_id(self) -> int:
        return self.config.vocab_size - 1

    @property
    def cells(self) -> int:
        return self.config.num_vq_tokens

    @property
    def kept_width(self) -> int:
        return (2 * self.config.num_hidden_layers + 1) * self.config.hidden_size

    @property
    def row_width(self) -> int:
        return self.config.hidden_size

    @property
    def lead_rows(self) -> int:
        return 1

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        return Prepared(self.config.codebook_size + condition.labels[:, None], grid)

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        return self.run(self.sequence(tokens, prepared), hooks)[:, 1:].unflatten(1, prepared.grid)

    def sequence(self, tokens: Tensor, prepared: Prepared) -> Tensor:
        """[B, h, w] -> ids [B, 1 + h * w], the class first."""
        return torch.cat([prepared.class_ids, tokens.flatten(1)], dim=1)

    def run(self, ids: Tensor, hooks: Hooks = NO_HOOKS) -> Tensor:
        """The layers over ids [B, S] -> hidden states [B, S, C], the class position included.

        hooks.top_down: the value of layer l becomes value(x) + value(top_down[l]) (Self-Guidance,
        arXiv 2410.13136, section 4). hooks.perturb changes the image's embeddings alone.
        """
        x, merging, cache, above = self.embed(ids), hooks.merging, hooks.cache, iter(hooks.top_down or ())
        if hooks.perturb is not None:
            x = torch.cat([x[:, :1], hooks.perturb(x[:, 1:].unflatten(1, self.trained_grid)).flatten(1, 2)], dim=1)
        x, lead, rows = selected(cache, x, 1)

        def through(x: Tensor, layers: Iterable[Layer]) -> Tensor:
            for layer in layers:
                beat()
                hooks.tap(x)
                merges = merging.at("single", x[:, lead:], self.trained_grid) if merging else NO_MERGES
                x = layer(x, next(above, None), merges.after(lead), cache and cache.memory())
            return x

        layers, skip = iter(self.transformer_layers), hooks.skip

        def others(x: Tensor) -> Tensor:
            x = through(x, layers)
            return cache.whole(x, 1).clone() if cache else x  # what is kept is overwritten by the next call

        x = skip.past(others, through(x, islice(layers, skip.first)), rows) if skip else others(x)
        hooks.tap(x)
        return x

    def head(self, features: Tensor) -> Tensor:
        return widened(self.mlm_layer, features, self.config.codebook_size)
