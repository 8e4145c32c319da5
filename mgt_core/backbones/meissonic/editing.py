"""EditMGT (arXiv 2512.11715): Meissonic's network, reading instructions by Gemma 2 and seeing the picture to be edited.

Parameter names are those of the published checkpoint.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...errors import MGTError
from ...kernels.block import rotary_table
from ...placement import sent
from ...registry import BACKBONES
from ...types import Condition
from .config import MeissonicConfig
from .ends import rotary_tables
from .network import CONNECTOR, MeissonicTransformer, Prepared
from .reference import Reference

# What its config says of the parts that other configs of the same code have, of which no weights are published.
KNOWN = {"text_encoder_architecture": "CLIP_Gemma2", "connector_type": "linear"}


@BACKBONES.register("editmgt")
class EditMGT(MeissonicTransformer):
    """Tokens, an instruction and perhaps a reference to logits; without a reference it is text to image."""

    supports = MeissonicTransformer.supports | {"reference"}
    reads_language = True

    def __init__(self, config: MeissonicConfig):
        super().__init__(config)
        self.connector = nn.ModuleDict({"projector": nn.Linear(config.joint_attention_dim, config.width)})
        self.context_embedder = nn.Linear(config.width, config.width)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "mlm_layer.conv2.weight" in shapes and CONNECTOR in shapes

    @classmethod
    def configure(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> MeissonicConfig:
        """Raises MGTError for other text encoders and connectors."""
        for name, value in KNOWN.items():
            if config.get(name, value) != value:
                raise MGTError(f"transformer config has {name} {config[name]!r}; accepted is {value!r}")
        return super().configure(config, shapes)

    @property
    def published_settings(self) -> dict:
        """Of its authors' script for editing, and of their inpainting."""
        schedules = {"schedule": "cosine", "inpainting_schedule": "cosine"}
        return {"steps": 36, "cfg": 6.0, "temperature": (2.0, 0.0), **schedules}

    @property
    def block_counts(self) -> tuple[int, int]:
        """Joint blocks, and those of text and image in one sequence after them."""
        return self.config.num_layers, self.config.num_single_layers

    @property
    def published_text_encoder(self) -> str:
        return ""

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Prepared:
        projector = self.connector["projector"]
        hidden = projector(condition.hidden.to(self.encoder_proj_layer_norm.weight.dtype))
        return super().prepare(replace(condition, hidden=hidden), grid)

    def with_reference(self, prepared: Prepared, tokens: Tensor, strength: float) -> Prepared:
        """What makes the network see a picture beside the one that is made. tokens: [b, h', w'] of any grid that it
        takes, ids or the mask, for images of `prepared` in turn; strength: above 0, 1 as any other rows."""
        images, device = len(prepared.context), prepared.context.device
        tokens = sent(tokens, device).repeat(images // len(tokens), 1, 1)
        inner = tuple(side // self.grid_multiple for side in tokens.shape[1:])
        cos, sin = rotary_tables(0, inner, self.config.axes_dims_rope)
        reference = Reference(
            rows=self.image_rows(tokens),
            embedding=self.embedding(torch.zeros(1, device=device), prepared),
            table=sent(rotary_table(cos, sin), device),
            bias=math.log(strength),
        )
        return replace(prepared, reference=reference)
