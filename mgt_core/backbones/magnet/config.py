"""Sizes of a MAGNeT network, out of the xp.cfg that its checkpoints hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import MGTError, finite_number, shortened, whole_number
from ...loading.building import LARGEST
from ...loading.references import resolved
from ...settings import hold

Shapes = Mapping[str, tuple[int, ...]]
TEXT = "condition_provider.conditioners.description.output_proj.weight"
TEXT_POSITIONS = "fuser.cross_attention_pos_emb"  # whether the text's rows have places
LONGEST_SOUND = 3600  # seconds that a network may have been trained at
MOST_BOOKS = 64
LM, OWN_LM = "lm_model", "transformer_lm_magnet"  # what network it is: MusicGen's tensors have the same names
TEXT_ENCODER = "conditioners.description.t5.name"
OWNER = "google-t5/"  # of the repositories that are named without one
# What a config may say beside the sizes, and the only value that this network implements; it may leave them out.
IMPLEMENTED = {
    LM: OWN_LM,
    "conditioners.description.model": "t5",
    "transformer_lm.causal": False,
    "transformer_lm.norm_first": True,
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.activation": "gelu",
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.layer_scale": None,
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.qk_layer_norm_cross": False,
    "transformer_lm.kv_repeat": 1,
    "fuser.cross": ["description"],
    "fuser.sum": [],
    "fuser.prepend": [],
    "fuser.input_interpolate": [],
}
SIZES = {  # fields of MagnetConfig that a config has to say
    "dim": "transformer_lm.dim",
    "heads": "transformer_lm.num_heads",
    "layers": "transformer_lm.num_layers",
    "hidden_scale": "transformer_lm.hidden_scale",
    "books": "transformer_lm.n_q",
    "codes": "transformer_lm.card",
    "seconds": "dataset.segment_duration",
}
SETTINGS = {  # those that it may leave out, and what they are then
    "reach": ("transformer_lm.subcodes_context", 5),
    "span": ("masking.span_len", 3),
    "text_positions": ("fuser.cross_attention_pos_emb_scale", 1.0),
    "bias_attention": ("transformer_lm.bias_attn", False),
    "bias_mlp": ("transformer_lm.bias_ff", False),
    "bias_head": ("transformer_lm.bias_proj", False),
    "text_encoder": (TEXT_ENCODER, "t5-base"),
}


def text_repository(config: Mapping[str, Any]) -> str:
    """Of the T5 that a config names. Raises MGTError where that is no name."""
    name = resolved(config, *SETTINGS["text_encoder"])
    if not isinstance(name, str) or not name:
        raise MGTError(f"xp.cfg has {TEXT_ENCODER} {shortened(repr(name), 80)}; expected the name of a T5")
    return name if "/" in name else OWNER + name


@dataclass(frozen=True)
class MagnetConfig:
    """dim: width of a frame's row. books: code books; codes: entries of each. text_width: of the states of T5.
    reach: frames to each side that stages after the first attend to, -1 for all. span: frames that were masked together
    in training. seconds: of the sounds it was trained with. text_positions: what positions of the text's rows are
    multiplied by, 0 for none. bias_attention, bias_mlp, bias_head: whether those layers have one. text_encoder: the
    repository of a T5, of its first authors where no other is named."""

    dim: int
    heads: int
    layers: int
    hidden_scale: int
    books: int
    codes: int
    text_width: int
    reach: int = 5
    span: int = 3
    seconds: float = 10.0
    text_positions: float = 0.0
    bias_attention: bool = False
    bias_mlp: bool = False
    bias_head: bool = False
    text_encoder: str = "t5-base"

    @classmethod
    def from_xp(cls, config: Mapping[str, Any], shapes: Shapes) -> "MagnetConfig":
        """Raises MGTError naming missing entries and variants that are not implemented; others are ignored, among them
        the copies of span and duration in `transformer_lm`, which are stale."""
        for name, only in IMPLEMENTED.items():
            if (value := resolved(config, name, only)) != only:
                raise MGTError(f"xp.cfg has {name} {shortened(repr(value), 80)}; only {only!r} is supported")
        if len(shapes.get(TEXT, ())) != 2:
            raise MGTError(f"the weights lack {TEXT}, which tells the width of the text")
        values = {own: resolved(config, name) for own, name in SIZES.items()}
        values |= {own: resolved(config, name, default) for own, (name, default) in SETTINGS.items()}
        if not resolved(config, TEXT_POSITIONS, False):
            values["text_positions"] = 0.0
        return cls(**values, text_width=shapes[TEXT][1])

    def as_xp(self) -> dict[str, Any]:
        """A config that `from_xp` reads as this one."""
        found: dict[str, Any] = {}
        told = {**SIZES, **{own: name for own, (name, _) in SETTINGS.items()}}
        held = {name: getattr(self, own) for own, name in told.items()}
        for name, value in {**IMPLEMENTED, **held, TEXT_POSITIONS: self.text_positions != 0}.items():
            *above, last = name.split(".")
            place = found
            for key in above:
                place = place.setdefault(key, {})
            place[last] = value
        return found

    def __post_init__(self):
        text_repository(self.as_xp())
        whole = {own: (name, 1 + (own == "books")) for own, name in SIZES.items() if own != "seconds"}
        whole |= {"span": (SETTINGS["span"][0], 1), "reach": (SETTINGS["reach"][0], -1)}
        for own, (name, least) in whole.items():
            hold(self, **{own: whole_number(f"{name} of xp.cfg", getattr(self, own), least, LARGEST)})
        for own, (name, default) in SETTINGS.items():
            if isinstance(default, bool) and not isinstance(value := getattr(self, own), bool):
                raise MGTError(f"xp.cfg has {name} {shortened(repr(value), 80)}; expected true or false")
        finite_number(f"{SIZES['seconds']} of xp.cfg", self.seconds, 0.1, LONGEST_SOUND)
        finite_number(f"{SETTINGS['text_positions'][0]} of xp.cfg", self.text_positions, -1e6, 1e6)
        if self.books > MOST_BOOKS:
            raise MGTError(f"xp.cfg has {SIZES['books']} {self.books}; accepted are up to {MOST_BOOKS}")
        if self.dim % 2 or self.dim % self.heads:
            raise MGTError(
                f"xp.cfg has {SIZES['dim']} {self.dim}, which must be an even number and a multiple of "
                f"{SIZES['heads']} {self.heads}"
            )
