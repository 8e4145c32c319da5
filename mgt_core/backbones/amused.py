"""aMUSEd (arXiv 2401.01808) through diffusers' own network, UVit2DModel."""

from torch import Tensor, nn

from ..errors import MGTError, whole_number
from ..kernels.widened import widened
from ..loading.building import defaults_of, like
from ..pulse import beat_before
from ..registry import BACKBONES
from ..types import Condition
from .base import Backbone
from .hooks import NO_HOOKS, Hooks

HEAD = "mlm_layer."
BODY = "uvit."  # before the other names where this pack has saved them


@BACKBONES.register("amused")
class AmusedTransformer(Backbone):
    """UVit2DModel, its token head apart so that it can be applied to some cells alone.

    It has no timestep: how much is masked is all it knows of the progress of a run.
    """

    config_class = dict
    condition_fields = ("hidden", "pooled", "micro")
    unquantized = ("",)  # all: diffusers computes in the type of whichever parameter comes last, packed or not

    def __init__(self, config: dict):
        from diffusers import UVit2DModel

        super().__init__()
        self.uvit = UVit2DModel(**like(defaults_of(UVit2DModel), config))
        self.mlm_layer, self.uvit.mlm_layer = self.uvit.mlm_layer, nn.Identity()
        self.config = self.uvit.config
        beat_before(self.uvit.transformer_layers)
        for name in ("vocab_size", "codebook_size", "sample_size"):
            whole_number(f"{name} of the transformer config", self.config[name], 1, 2**31)
        if self.codebook_size > self.mask_id:
            raise MGTError(
                f"transformer config has vocab_size {self.config.vocab_size}, which must exceed codebook_size "
                f"{self.codebook_size} to hold the mask token"
            )

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "mlm_layer.conv2.weight" in shapes and not shapes.keys().isdisjoint(
            ("encoder_proj.weight", BODY + "encoder_proj.weight")
        )

    @classmethod
    def configure(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> dict:
        return config

    @classmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        return config.get("codebook_size")

    @staticmethod
    def renamed(name: str) -> str:
        return name if name.startswith((HEAD, BODY)) else BODY + name

    @property
    def published_settings(self) -> dict:
        """Of diffusers' AmusedPipeline."""
        return {"steps": 12, "cfg": 10.0, "temperature": (2.0, 0.0), "schedule": "cosine"}

    @property
    def mask_id(self) -> int:
        return self.config.vocab_size - 1

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
    def condition_widths(self) -> dict[str, int]:
        return {"hidden": self.config.encoder_hidden_size, "pooled": self.config.cond_embed_dim, "micro": 5}

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Condition:
        return condition.to(dtype=self.mlm_layer.conv1.weight.dtype)

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Condition, hooks: Hooks = NO_HOOKS) -> Tensor:
        out = self.uvit(tokens, prepared.hidden, prepared.pooled, prepared.micro)
        return out.permute(0, 2, 3, 1)

    def head(self, features: Tensor) -> Tensor:
        rows = features.flatten(0, -2)[:, :, None, None]
        return widened(self.mlm_layer, rows).flatten(1).unflatten(0, features.shape[:-1])
