"""What PEFT's settings say of a LoRA's scale, in the file beside the weights or in their header."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import MGTError, shortened
from ..loading.building import is_finite
from ..loading.disk import is_dir, is_file, parse_json, read_json
from .names import unwrapped
from .patterns import Patterns

CONFIG = "adapter_config.json"  # PEFT's, beside the weights
METADATA = "lora_adapter_metadata"  # diffusers' entry in the header, with PEFT's settings
NETWORKS = ("transformer.", "unet.")  # before settings there
# Beginnings of ways to initialize that change the model's own weights, which the pair of matrices then presumes.
REBASED = ("pissa", "olora", "corda", "loftq", "lora_ga")
UNTRUE = ("", "false", "0", "none", "null", "no")  # as headers, which hold texts alone, say it


@dataclass(frozen=True)
class Settings:
    """alphas, ranks: of layers that differ, by patterns over their names."""

    alpha: float | None = None
    alphas: Patterns = Patterns({})
    rank: float | None = None
    ranks: Patterns = Patterns({})
    root: bool = False  # rank-stabilized: alpha / sqrt(r)
    decomposed: bool = False  # DoRA

    @classmethod
    def of(cls, source: Path, file: Path) -> "Settings":
        """source: a LoRA's file or folder; file: where its tensors are."""
        config = (source if is_dir(source) else source.parent) / CONFIG
        values = read_json(config) if is_file(config) else header_settings(file)
        start = str(values.get("init_lora_weights")).lower()
        if start.startswith(REBASED):
            raise MGTError(
                f"{source.name} was begun by {shortened(start, 40)}, which changed the weights of the model that it is "
                "for; save it with path_initial_model_for_weight_conversion, which makes a plain LoRA of it"
            )
        plain = "lora_alpha" in values or values.get("peft_type") not in ("LOHA", "LOKR")
        alpha, alphas = numbers(values, source, "lora_alpha" if plain else "alpha", "alpha_pattern")
        rank, ranks = (None, Patterns({})) if plain else numbers(values, source, "r", "rank_pattern")
        return cls(alpha, alphas, rank, ranks, is_true(values.get("use_rslora")), is_true(values.get("use_dora")))

    def scale(self, layer: str, rank: int | None, own: float | None) -> float:
        """alpha / r. rank: of the matrices, None where the layer has whole ones alone, which only PEFT's settings
        scale. own: alpha that stands in the file beside the layer; it comes first."""
        bare = unwrapped(layer)
        if rank is None:
            rank = None if own is not None else self.ranks.get(bare, self.rank)
        alpha = own if own is not None else self.alphas.get(bare, self.alpha)
        if alpha is None or not rank:
            return 1.0
        return alpha / (math.sqrt(rank) if self.root else rank)


def number(value: object) -> float:
    """Also of a text, as headers hold them. Raises ValueError or TypeError for what is none or beyond float32."""
    value = float(value)
    if not is_finite(value):
        raise ValueError(value)
    return value


def numbers(values: Mapping, source: Path, name: str, pattern: str) -> tuple[float | None, Patterns]:
    """A setting, and the pattern of layers that have another one."""
    try:
        value = values.get(name)
        others = {layer: number(other) for layer, other in (values.get(pattern) or {}).items()}
        return None if value is None else number(value), Patterns(others)
    except MGTError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError):
        raise MGTError(f"the settings of {source.name} hold a {name} that is no number below 1e30") from None


def is_true(value: object) -> bool:
    return value.strip().lower() not in UNTRUE if isinstance(value, str) else bool(value)


def header_settings(file: Path) -> dict:
    """PEFT's settings in the header of a safetensors file, if it has any. Other trainers' notes (kohya's ss_...) say
    nothing that the tensors do not."""
    from safetensors import safe_open

    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, "pt") as opened:
        header = opened.metadata() or {}
    try:
        values = parse_json(header[METADATA].encode()) if METADATA in header else header
    except ValueError:
        raise MGTError(f"{file.name} has {METADATA} that is not valid JSON") from None
    if not isinstance(values, dict):
        raise MGTError(f"{file.name} has {METADATA} {values!r}; expected settings by name")
    bare = {}
    for name, value in values.items():
        before = next(filter(name.startswith, NETWORKS), "")
        bare[name.removeprefix(before)] = value
    return bare
