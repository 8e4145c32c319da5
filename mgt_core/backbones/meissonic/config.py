"""Sizes of a Meissonic network."""

from dataclasses import MISSING, dataclass, fields
from typing import Any

from ...errors import MGTError


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
        missing = [f.name for f in fields(cls) if f.name not in values and f.default is MISSING]
        if missing:
            raise MGTError(f"transformer config lacks {', '.join(missing)}")
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        try:
            known["axes_dims_rope"] = tuple(int(d) for d in known["axes_dims_rope"])
        except (TypeError, ValueError, OverflowError):
            raise MGTError(
                f"transformer config has axes_dims_rope {known['axes_dims_rope']!r}; expected three even numbers"
            ) from None
        return cls(**known)

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected a number of 0 or more")
            if f.type is bool and not isinstance(value, bool):
                raise MGTError(f"transformer config has {f.name} {value!r}; expected true or false")
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
        check_ends(self)

    @property
    def width(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def mask_id(self) -> int:
        return self.vocab_size - 1


def check_ends(config: Any) -> None:
    """Raises MGTError where a vocabulary has no room for a mask, or a grid is halved and not doubled again."""
    if not 0 < config.codebook_size < config.vocab_size:
        raise MGTError(
            f"transformer config has vocab_size {config.vocab_size}, which must exceed codebook_size "
            f"{config.codebook_size} to hold the mask token"
        )
    if config.downsample != config.upsample:
        raise MGTError("transformer config sets only one of downsample and upsample; they belong together")
