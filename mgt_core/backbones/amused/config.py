"""Sizes of an aMUSEd network."""

from dataclasses import dataclass, fields

from ...errors import MGTError, finite_number, whole_number
from ...loading.building import LARGEST, like
from ..meissonic.config import check_ends

MICRO = 5  # micro-conditions
# What a published config may say beside the sizes, and the only value that this network implements.
IMPLEMENTED = {"use_bias": False, "ln_elementwise_affine": True}


@dataclass(frozen=True)
class AmusedConfig:
    """Sizes of an aMUSEd network, named as in the published transformer/config.json. What that leaves out is as in
    diffusers' UVit2DModel, which wrote it."""

    hidden_size: int = 1024
    cond_embed_dim: int = 768
    micro_cond_encode_dim: int = 256
    micro_cond_embed_dim: int = 1280
    encoder_hidden_size: int = 768
    vocab_size: int = 8256
    codebook_size: int = 8192
    in_channels: int = 768
    block_out_channels: int = 768
    num_res_blocks: int = 3
    downsample: bool = False
    upsample: bool = False
    block_num_heads: int = 12
    num_hidden_layers: int = 22
    num_attention_heads: int = 16
    intermediate_size: int = 2816
    layer_norm_eps: float = 1e-6
    sample_size: int = 64

    @classmethod
    def from_dict(cls, values: dict) -> "AmusedConfig":
        """Raises MGTError naming contradicting entries and variants that are not implemented; unknown entries are
        ignored, and so is dropout, which is for training."""
        for name, only in IMPLEMENTED.items():
            if values.get(name, only) != only:
                raise MGTError(f"transformer config has {name} {values[name]!r}; only {only!r} is supported")
        return cls(**like({f.name: f.default for f in fields(cls)}, values))

    def __post_init__(self):
        for f in fields(self):
            if f.type is int:
                whole_number(f"{f.name} of the transformer config", getattr(self, f.name), 1, LARGEST)
        finite_number("layer_norm_eps of the transformer config", self.layer_norm_eps, 0, 1)
        for width, heads in (("hidden_size", "num_attention_heads"), ("block_out_channels", "block_num_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise MGTError(
                    f"transformer config has {width} {getattr(self, width)}, which must be a multiple of {heads} "
                    f"{getattr(self, heads)}"
                )
        if self.micro_cond_encode_dim % 2 or self.micro_cond_embed_dim != MICRO * self.micro_cond_encode_dim:
            raise MGTError(
                f"transformer config has micro_cond_embed_dim {self.micro_cond_embed_dim}, which must be {MICRO} times "
                f"micro_cond_encode_dim {self.micro_cond_encode_dim}, an even number"
            )
        check_ends(self)

    @property
    def mask_id(self) -> int:
        return self.vocab_size - 1
