"""LoRA (Hu et al., arXiv 2106.09685, section 4.1): low-rank updates added beside the layers of a network.

W x becomes W x + strength (alpha / r) B A x. The layer itself stays as it is, so that the update works over
packed weights and the weights are shared with the network that has none.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MGTError, join_some, shortened
from ..loading.building import is_finite, told_of
from ..loading.disk import is_dir, is_file, parse_json, read_json
from ..loading.finite import BYTES, numbers_fit
from ..loading.downloads import told_of_downloads
from ..loading.hub import entered, name_of
from ..loading.weights import SUFFIXES, index_weights, open_weights
from .patterns import Patterns

# As PEFT, diffusers and kohya's scripts name the two matrices of a layer.
FACTOR = re.compile(r"(?P<layer>.+)\.(?:lora_|lora\.)(?P<side>A|B|down|up)(?:\.[^.]+)?\.weight")
ALPHA = re.compile(r"(?P<layer>.+)\.alpha")
SIDES = {"A": "down", "down": "down", "B": "up", "up": "up"}
PREFIXES = ("base_model.model.", "transformer.", "unet.", "diffusion_model.")  # before the layer's own name
TEXT = ("text_encoder.", "lora_te")
CONFIG = "adapter_config.json"  # PEFT's, beside the weights
MOST = 100_000  # tensors: more than three for each layer of any network
LONGEST = 1000  # characters of a tensor's name; real ones have about 100
METADATA = "lora_adapter_metadata"  # diffusers' entry in the header, with PEFT's settings


@dataclass(frozen=True)
class LowRank:
    """An update of one layer. down: A [r, in]; up: B [out, r]; scale: alpha / r."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    @property
    def largest(self) -> float:
        """What no number of B A exceeds, nor one of A or B."""
        down, up = (float(matrix.abs().max()) for matrix in (self.down, self.up))
        return max(down, up, down * up * self.down.shape[0])


@dataclass(frozen=True)
class LoRA:
    """What a LoRA file holds. updates: by the names that the file gives the layers. text: how many tensors it
    holds for a text encoder, which are not read."""

    name: str
    updates: Mapping[str, LowRank] = field(repr=False)
    text: int = 0

    @classmethod
    def load(cls, source: str | Path) -> "LoRA":
        """A file, or a folder that PEFT wrote, also in a cache (loading/hub.py). Raises MGTError for one that holds
        anything but pairs of matrices."""
        named = isinstance(source, (str, Path)) and str(source)
        path = entered(Path(source)) if named else Path(os.devnull)
        if not is_dir(path) and (not is_file(path) or path.suffix not in SUFFIXES):
            raise MGTError(f"lora is {str(source)!r}; expected a file of type {', '.join(SUFFIXES)}, or PEFT's folder")
        source = path
        with told_of_downloads(source):
            stored = index_weights(source)
        taken = {name: entry for name, entry in stored.items() if not name.startswith(TEXT)}
        if len(taken) > MOST:
            raise MGTError(f"{source.name} holds {len(taken)} tensors; a LoRA has up to {MOST}")
        parts: dict[str, dict[str, Tensor]] = {}
        unknown, opened = [], cache(open_weights)
        for name, entry in taken.items():
            factor, alpha = FACTOR.fullmatch(name), ALPHA.fullmatch(name)
            if (not factor and not alpha) or len(name) > LONGEST:
                unknown.append(name)
                continue
            side = SIDES[factor["side"]] if factor else "alpha"
            with told_of(entry.file, "cannot be read"):
                value = opened(entry.file)(entry.name).detach().clone()
            parts.setdefault((factor or alpha)["layer"], {})[side] = value
        if unknown:
            raise MGTError(
                f"{source.name} holds tensors that are no LoRA of linear layers: {join_some(map(shortened, unknown))}"
            )
        if not parts:
            raise MGTError(f"{source.name} holds no LoRA for a transformer")
        with told_of(source, "has settings that cannot be read"):
            settings = Settings.of(source, next(iter(taken.values())).file)
        updates = {layer: low_rank(layer, part, settings, source.name) for layer, part in parts.items()}
        return cls(name_of(source).removesuffix(source.suffix), updates, len(stored) - len(taken))


@dataclass(frozen=True)
class Settings:
    """What PEFT's settings say of the scale. alphas: of layers that differ, by patterns over their names."""

    alpha: float | None = None
    alphas: Patterns = Patterns({})
    root: bool = False  # rank-stabilized: alpha / sqrt(r)

    @classmethod
    def of(cls, source: Path, file: Path) -> "Settings":
        config = (source if is_dir(source) else source.parent) / CONFIG
        values = read_json(config) if is_file(config) else header_settings(file)
        if values.get("use_dora"):
            raise MGTError(f"{source.name} is a DoRA, whose magnitudes this pack does not apply")
        try:
            alpha = values.get("lora_alpha")
            alphas = {name: number(value) for name, value in (values.get("alpha_pattern") or {}).items()}
            alpha = None if alpha is None else number(alpha)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise MGTError(f"the settings of {source.name} hold a lora_alpha that is no number below 1e30") from None
        return cls(alpha, Patterns(alphas), bool(values.get("use_rslora")))

    def scale(self, layer: str, rank: int, own: float | None) -> float:
        """own: alpha that stands in the file beside the layer; it comes first."""
        alpha = own if own is not None else self.alphas.get(layer, self.alpha)
        return 1.0 if alpha is None else alpha / (math.sqrt(rank) if self.root else rank)


def number(value: object) -> float:
    """Also of a text, as headers hold them. Raises ValueError or TypeError for what is none or beyond float32."""
    value = float(value)
    if not is_finite(value):
        raise ValueError(value)
    return value


def header_settings(file: Path) -> dict:
    """PEFT's settings in the header of a safetensors file, if it has any."""
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
    return {name.removeprefix("transformer."): value for name, value in values.items()}


def low_rank(layer: str, part: Mapping[str, Tensor], settings: Settings, file: str) -> LowRank:
    """Raises MGTError unless the two matrices are there and fit each other."""
    missing = [side for side in ("down", "up") if side not in part]
    if missing:
        letter = {"down": "lora_A", "up": "lora_B"}[missing[0]]
        raise MGTError(f"{file} holds {layer} without its {letter}.weight")
    down, up = (part[side].float() if part[side].dtype in BYTES else part[side] for side in ("down", "up"))
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        shapes = f"{list(down.shape)} and {list(up.shape)}"
        raise MGTError(f"{file} holds matrices of {shapes} for {layer}; expected [r, in] and [out, r]")
    if not all(matrix.is_floating_point() for matrix in (down, up)) or not down.numel() or not up.numel():
        held = f"{down.dtype} and {up.dtype} of rank {down.shape[0]}"
        raise MGTError(f"{file} holds {held} for {layer}; expected floating-point numbers of rank 1 or more")
    if not (numbers_fit(down, torch.float32) and numbers_fit(up, torch.float32)):
        raise MGTError(f"{file} holds values for {layer} that are not finite numbers")
    own = None
    if "alpha" in part:
        try:
            own = number(part["alpha"].item())
        except (TypeError, ValueError, RuntimeError):
            raise MGTError(f"{file} holds an alpha for {layer} that is no number below 1e30") from None
    return LowRank(down, up, settings.scale(layer, down.shape[0], own))
