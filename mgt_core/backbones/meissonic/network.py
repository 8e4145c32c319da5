"""Meissonic (arXiv 2410.08261, section 3): an MM-DiT over masked image tokens, in plain torch.

Parameter names are those of the published checkpoints, so that they load unchanged. Both layouts:
the 1024 px one halves the token grid before the blocks (downsample / upsample), the 512 px one does not.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...conditioning.clip import LAION
from ...kernels.block import attention_bytes, rotary_table
from ...placement import sent
from ...pulse import beat
from ...registry import BACKBONES
from ...types import Condition
from ..base import Backbone
from ..hooks import NO_HOOKS, Hooks
from ..merge import NO_MERGES
from .blocks import JointBlock, SingleBlock, within_half
from .branch import PooledBranch
from .config import MeissonicConfig
from .ends import (
    TIME_DIM,
    Double,
    Halve,
    TimeTextEmbed,
    TokenEmbed,
    TokenHead,
    TwoLayer,
    rotary_tables,
    sinusoid,
    time_frequencies,
)
from .reference import Reference

PUBLISHED_CODES = 8192
# What the checkpoints of Muddit and of EditMGT hold and Meissonic's do not.
TEXT_HEAD, CONNECTOR = "text_decoder.1.weight", "connector.projector.weight"
MICRO_DIM = 256  # sinusoid width of each of the five micro-conditions


@dataclass(frozen=True)
class Prepared:
    """What depends only on the condition and the grid: computed once a run.

    context: [B, L, C] projected text. pooled: [B, C] its share of the modulation input.
    tables: rotary_table [L + n, head_dim] float32, text rows first (position 0: no rotation).
    frequencies: [TIME_DIM / 2] of the timestep's sinusoid. reference: a picture beside the one that is made, if any.
    """

    context: Tensor
    pooled: Tensor
    tables: Tensor
    frequencies: Tensor
    grid: tuple[int, int]
    reference: Reference | None = None


@BACKBONES.register("meissonic")
class MeissonicTransformer(Backbone):
    """The network of arXiv 2410.08261: tokens, text, pooled text and micro-conditions to logits."""

    config_class = MeissonicConfig
    self_guidance_branch = PooledBranch
    condition_fields = ("hidden", "pooled", "micro")
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip", "attention", "words"})
    block_kinds = ("joint", "single")

    @property
    def published_settings(self) -> dict:
        """Of Meissonic (inference.py), or at 512 pixels of Monetico (inference_fp16_Monetico.py)."""
        steps = 64 if self.config.downsample else 48
        return {"steps": steps, "cfg": 9.0, "temperature": (2.0, 0.0), "schedule": "cosine"}

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
        own = "mlm_layer.conv2.weight" in shapes and "context_embedder.weight" in shapes
        return own and not shapes.keys() & {TEXT_HEAD, CONNECTOR}  # which are Muddit's and EditMGT's

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
        return (2 * (self.config.num_layers + self.config.num_single_layers) + 1) * self.config.width

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        return attention_bytes(rows, dtype, device)

    @property
    def row_width(self) -> int:
        return self.config.width

    @property
    def condition_widths(self) -> dict[str, int]:
        return {"hidden": self.config.joint_attention_dim, "pooled": self.config.pooled_projection_dim, "micro": 5}

    @property
    def published_text_encoder(self) -> str:
        """For the weights of 1024 px (inference.py of viiika/Meissonic); Monetico, of 512 px, uses its own."""
        published = self.config.downsample and self.codebook_size == PUBLISHED_CODES
        return LAION if published else ""

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
            tables=sent(rotary_table(cos, sin), context.device),
            frequencies=time_frequencies(context.device),
            grid=inner,
        )

    def embedding(self, timestep: Tensor, prepared: Prepared) -> Tensor:
        """What modulates rows at a timestep [1] or [B], after its SiLU: [B, C]."""
        # float32 until here: 63 * 1000 is not a half-precision number.
        time = sinusoid(timestep.float() * 1000, TIME_DIM, prepared.frequencies).to(prepared.context.dtype)
        return F.silu(self.time_text_embed.timestep_embedder(time) + prepared.pooled)

    def image_rows(self, tokens: Tensor, perturb: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Tokens [B, h, w] -> rows [B, n, C] as they enter the first block."""
        x = self.embed(tokens)
        beat()
        if perturb is not None:
            x = perturb(x)
        if self.config.downsample:
            x = self.down_block["downsample"](x)
        beat()
        return self.project_to_hidden(self.project_to_hidden_norm(x.flatten(1, 2)))

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        embedding = self.embedding(timestep, prepared)
        beat()
        image = self.image_rows(tokens, hooks.perturb)
        text, tables, beside = prepared.context, prepared.tables, None
        merging, cache = hooks.merging, hooks.cache
        if cache:
            image, text, tables = cache.select(image, text, tables)
        if prepared.reference is not None:
            beside = prepared.reference.begin(known=cache is not None and cache.rows is not None)
            tables = beside.joined(tables)
        above = iter(hooks.top_down or ())
        skip = hooks.skip
        # Text rows are of no use after the blocks, so that a shortcut past the single ones needs the image's alone.
        first = min(skip.first, len(self.transformer_blocks)) if skip else 0

        def joint(blocks: Iterable[JointBlock], image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
            for block in blocks:
                beat()
                hooks.tap(image)
                merges = merging.at("joint", image, prepared.grid) if merging else NO_MERGES
                memory, own = cache and cache.memory(), next(above, None)
                image, text = block(image, text, embedding, tables, merges, memory, own, beside)
            return image, text

        def others(image: Tensor) -> Tensor:
            """Image rows after the last block, of those after the first ones."""
            image, words = joint(islice(self.transformer_blocks, first, None), image, text)
            joined, lead = torch.cat([words, image], dim=1), words.shape[1]
            seen = hooks.attention and partial(hooks.attention, lead)
            for block in self.single_transformer_blocks:
                beat()
                hooks.tap(joined[:, lead:])
                own = next(above, None)
                own = None if own is None else F.pad(own, (0, 0, lead, 0))
                merges = merging.at("single", joined[:, lead:], prepared.grid) if merging else NO_MERGES
                memory = cache and cache.memory()
                joined = block(joined, embedding, tables, merges.after(lead), memory, own, seen, beside)
            hooks.hear(joined[:, :lead])
            return cache.whole(joined[:, lead:]) if cache else joined[:, lead:]

        image, text = joint(islice(self.transformer_blocks, first), image, text)
        image = within_half(skip.past(others, image, cache and cache.rows)) if skip else others(image)
        hooks.tap(image)
        beat()
        image = self.project_from_hidden(self.project_from_hidden_norm(image))
        beat()
        x = image.unflatten(1, prepared.grid)
        return self.up_block["upsample"](x) if self.config.upsample else x

    def head(self, features: Tensor) -> Tensor:
        return self.mlm_layer(features)
