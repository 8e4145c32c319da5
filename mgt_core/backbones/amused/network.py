"""aMUSEd (arXiv 2401.01808, section 3): a U-ViT over masked image tokens, in plain torch.

Parameter names are those of the published checkpoints, which diffusers' UVit2DModel wrote, so that they load unchanged.
Both layouts: the 512 px one halves the token grid before the blocks and doubles it after them, the 256 px one does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.block import attention_bytes
from ...pulse import beat
from ...registry import BACKBONES
from ...types import Condition
from ..base import Backbone
from ..hooks import NO_HOOKS, Hooks
from ..meissonic.ends import TokenEmbed, TokenHead, TwoLayer, sinusoid
from ..merge import NO_MERGES
from .blocks import Layer, Stage, ToldLayer, ToldStep
from .branch import AmusedBranch
from .config import MICRO, AmusedConfig

BODY = "uvit."  # before most names where earlier versions of this pack have saved them


@dataclass(frozen=True)
class Prepared:
    """What depends only on the condition and the grid: computed once a run.

    pooled: [B, C] of pooled text and micro-conditions. down, layers, up: what every block is told. grid: of the rows.
    """

    pooled: Tensor
    down: list[ToldStep]
    layers: list[ToldLayer]
    up: list[ToldStep]
    grid: tuple[int, int]


@BACKBONES.register("amused")
class AmusedTransformer(Backbone):
    """The network of arXiv 2401.01808: tokens, text, pooled text and micro-conditions to logits.

    It has no timestep: how much is masked is all it knows of the progress of a run.
    """

    config_class = AmusedConfig
    self_guidance_branch = AmusedBranch
    condition_fields = ("hidden", "pooled", "micro")
    supports = frozenset({"merging", "cache", "top_down", "taps", "perturb", "skip", "attention"})

    def __init__(self, config: AmusedConfig):
        super().__init__()
        self.config = config
        dim, outer, eps = config.hidden_size, config.block_out_channels, config.layer_norm_eps
        self.encoder_proj = nn.Linear(config.encoder_hidden_size, dim, bias=False)
        self.encoder_proj_layer_norm = nn.RMSNorm(dim, eps)
        self.embed = TokenEmbed(config.vocab_size, config.in_channels, outer, eps)
        self.cond_embed = TwoLayer(config.micro_cond_embed_dim + config.cond_embed_dim, dim, bias=False)
        self.down_block = Stage(config, halves=config.downsample)
        self.project_to_hidden_norm = nn.RMSNorm(outer, eps)
        self.project_to_hidden = nn.Linear(outer, dim, bias=False)
        self.transformer_layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.project_from_hidden_norm = nn.RMSNorm(dim, eps)
        self.project_from_hidden = nn.Linear(dim, outer, bias=False)
        self.up_block = Stage(config, doubles=config.upsample)
        self.mlm_layer = TokenHead(outer, config.codebook_size, config.in_channels, eps)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "mlm_layer.conv2.weight" in shapes and not shapes.keys().isdisjoint(
            ("encoder_proj.weight", BODY + "encoder_proj.weight")
        )

    @staticmethod
    def renamed(name: str) -> str:
        return name.removeprefix(BODY)

    @property
    def published_settings(self) -> dict:
        """Of diffusers' AmusedPipeline."""
        return {"steps": 12, "cfg": 10.0, "temperature": (2.0, 0.0), "schedule": "cosine"}

    @property
    def mask_id(self) -> int:
        return self.config.mask_id

    @property
    def codebook_size(self) -> int:
        return self.config.codebook_size

    @property
    def trained_grid(self) -> tuple[int, int]:
        return self.config.sample_size, self.config.sample_size

    @property
    def grid_multiple(self) -> int:
        return 2 if self.config.downsample else 1

    @property
    def kept_width(self) -> int:
        return (2 * self.config.num_hidden_layers + 1) * self.config.hidden_size

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        return attention_bytes(rows, dtype, device)

    @property
    def row_width(self) -> int:
        return self.config.hidden_size

    @property
    def condition_widths(self) -> dict[str, int]:
        return {"hidden": self.config.encoder_hidden_size, "pooled": self.config.cond_embed_dim, "micro": MICRO}

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        dtype = self.encoder_proj_layer_norm.weight.dtype  # of a layer that is never quantized
        micro = sinusoid(condition.micro, self.config.micro_cond_encode_dim).flatten(1).to(dtype)
        pooled = self.cond_embed(torch.cat([condition.pooled.to(dtype), micro], dim=-1))
        text = self.encoder_proj_layer_norm(self.encoder_proj(condition.hidden.to(dtype)))
        embedding = F.silu(pooled)
        return Prepared(
            pooled=pooled,
            down=self.down_block.given(embedding, text),
            layers=[layer.given(embedding, text) for layer in self.transformer_layers],
            up=self.up_block.given(embedding, text),
            grid=tuple(side // self.grid_multiple for side in grid),
        )

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared, hooks: Hooks = NO_HOOKS) -> Tensor:
        beat()
        x = self.embed(tokens)
        if hooks.perturb is not None:
            x = hooks.perturb(x)
        x = self.down_block(x, prepared.down)
        beat()
        image = self.project_to_hidden(self.project_to_hidden_norm(x.flatten(1, 2)))
        merging, cache, skip, above = hooks.merging, hooks.cache, hooks.skip, iter(hooks.top_down or ())
        seen = hooks.attention and partial(hooks.attention, None)
        if cache:
            image, _, _ = cache.select(image, image[:, :0], None)  # no text among the rows, and no rotary tables

        def through(image: Tensor, layers: Iterable[tuple[Layer, ToldLayer]]) -> Tensor:
            for layer, told in layers:
                beat()
                hooks.tap(image)
                merges = merging.at("single", image, prepared.grid) if merging else NO_MERGES
                image = layer(image, told, merges, cache and cache.memory(), next(above, None), seen)
            return image

        layers = zip(self.transformer_layers, prepared.layers, strict=True)

        def others(image: Tensor) -> Tensor:
            """All rows after the last layer, of those after the first ones."""
            image = through(image, layers)
            return cache.whole(image) if cache else image

        if skip:
            image = skip.past(others, through(image, islice(layers, skip.first)), cache and cache.rows)
        else:
            image = others(image)
        hooks.tap(image)
        beat()
        image = self.project_from_hidden(self.project_from_hidden_norm(image))
        return self.up_block(image.unflatten(1, prepared.grid), prepared.up)

    def head(self, features: Tensor) -> Tensor:
        return self.mlm_layer(features)
