"""LoRA (Hu et al., arXiv 2106.09685, section 4.1): low-rank updates added beside the layers of a network.

W x becomes W x + strength (alpha / r) B A x. The layer itself stays as it is, so that the update works over
packed weights and the weights are shared with the network that has none.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..errors import MGTError, join_some
from ..loading.weights import SUFFIXES, index_weights, open_weights, read_json

# As PEFT, diffusers and kohya's scripts name the two matrices of a layer.
FACTOR = re.compile(r"(?P<layer>.+)\.(?:lora_|lora\.)(?P<side>A|B|down|up)(?:\.[^.]+)?\.weight")
ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
SIDES = {"A": "down", "down": "down", "B": "up", "up": "up"}
PREFIXES = ("base_model.model.", "transformer.", "unet.", "diffusion_model.")  # before the layer's own name
TEXT = ("text_encoder.", "lora_te")
CONFIG = "adapter_config.json"  # PEFT's, beside the weights
METADATA = "lora_adapter_metadata"  # diffusers' entry in the header, with PEFT's settings


@dataclass(frozen=True)
class LowRank:
    """An update of one layer. down: A [r, in]; up: B [out, r]; scale: alpha / r."""

    down: Tensor
    up: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class LoRA:
    """What a LoRA file holds. updates: by the names that the file gives the layers. text: how many tensors it
    holds for a text encoder, which are not read."""

    name: str
    updates: Mapping[str, LowRank] = field(repr=False)
    text: int = 0

    @classmethod
    def load(cls, source: str | Path) -> "LoRA":
        """A file, or a folder that PEFT wrote. Raises MGTError for one that holds anything but pairs of matrices."""
        source = Path(source)
        if not source.is_dir() and (not source.is_file() or source.suffix not in SUFFIXES):
            raise MGTError(f"lora is {str(source)!r}; expected a file of type {', '.join(SUFFIXES)}, or PEFT's folder")
        stored = index_weights(source)
        taken = {name: entry for name, entry in stored.items() if not name.startswith(TEXT)}
        parts: dict[str, dict[str, Tensor]] = {}
        unknown = []
        for name, entry in taken.items():
            factor, alpha = FACTOR.fullmatch(name), ALPHA.fullmatch(name)
            if not factor and not alpha:
                unknown.append(name)
                continue
            side = SIDES[factor["side"]] if factor else "alpha"
            value = open_weights(entry.file)(entry.name)
            parts.setdefault((factor or alpha)["layer"], {})[side] = value.detach().clone()
        if unknown:
            raise MGTError(f"{source.name} holds tensors that are no LoRA of linear layers: {join_some(unknown)}")
        if not parts:
            raise MGTError(f"{source.name} holds no LoRA for a transformer")
        settings = Settings.of(source, next(iter(taken.values())).file)
        updates = {layer: low_rank(layer, part, settings, source.name) for layer, part in parts.items()}
        return cls(source.stem, updates, len(stored) - len(taken))


@dataclass(frozen=True)
class Settings:
    """What PEFT's settings say of the scale. alphas: of layers that differ, by patterns over their names."""

    alpha: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    root: bool = False  # rank-stabilized: alpha / sqrt(r)

    @classmethod
    def of(cls, source: Path, file: Path) -> "Settings":
        config = (source if source.is_dir() else source.parent) / CONFIG
        values = read_json(config) if config.is_file() else header_settings(file)
        if values.get("use_dora"):
            raise MGTError(f"{source.name} is a DoRA, whose magnitudes this pack does not apply")
        try:
            alpha = values.get("lora_alpha")
            alphas = {name: float(value) for name, value in (values.get("alpha_pattern") or {}).items()}
            return cls(None if alpha is None else float(alpha), alphas, bool(values.get("use_rslora")))
        except (TypeError, ValueError, AttributeError):
            raise MGTError(f"the settings of {source.name} hold a lora_alpha that is no number") from None

    def scale(self, layer: str, rank: int, own: float | None) -> float:
        """own: alpha that stands in the file beside the layer; it comes first."""
        special = (value for name, value in self.alphas.items() if re.fullmatch(rf"(.*\.)?{name}", layer))
        alpha = own if own is not None else next(special, self.alpha)
        return 1.0 if alpha is None else alpha / (math.sqrt(rank) if self.root else rank)


def header_settings(file: Path) -> dict:
    """PEFT's settings in the header of a safetensors file, if it has any."""
    from safetensors import safe_open

    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, "pt") as opened:
        header = opened.metadata() or {}
    try:
        values = json.loads(header[METADATA]) if METADATA in header else header
    except ValueError:
        raise MGTError(f"{file.name} has {METADATA} that is not valid JSON") from None
    return {name.removeprefix("transformer."): value for name, value in values.items()}


def low_rank(layer: str, part: Mapping[str, Tensor], settings: Settings, file: str) -> LowRank:
    """Raises MGTError unless the two matrices are there and fit each other."""
    missing = [side for side in ("down", "up") if side not in part]
    if missing:
        letter = {"down": "lora_A", "up": "lora_B"}[missing[0]]
        raise MGTError(f"{file} holds {layer} without its {letter}.weight")
    down, up = part["down"], part["up"]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        shapes = f"{list(down.shape)} and {list(up.shape)}"
        raise MGTError(f"{file} holds matrices of {shapes} for {layer}; expected [r, in] and [out, r]")
    if not (down.isfinite().all() and up.isfinite().all()):
        raise MGTError(f"{file} holds values for {layer} that are not finite numbers")
    own = float(part["alpha"]) if "alpha" in part else None
    return LowRank(down, up, settings.scale(layer, down.shape[0], own))
