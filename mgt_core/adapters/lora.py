"""LoRA (Hu et al., arXiv 2106.09685, section 4.1): low-rank updates added beside the layers of a network.

W x becomes W x + strength (alpha / r) B A x. The layer itself stays as it is, so that the update works over
packed weights and the weights are shared with the network that has none.
"""

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..errors import MGTError, join_some
from ..loading.weights import SUFFIXES, index_weights, open_weights, read_json
from ..placement import compute_dtype

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


class Adapter(nn.Module):
    """A low-rank product, for some rows of a layer's output. factor: strength * alpha / r."""

    def __init__(self, update: LowRank, rows: slice, factor: float, like: Tensor, dtype: torch.dtype):
        super().__init__()
        self.rows, self.factor = rows, factor
        place = {"device": like.device, "dtype": dtype}
        self.down = nn.Parameter(update.down.to(**place), requires_grad=False)
        self.up = nn.Parameter(update.up.to(**place), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(F.linear(x, self.down) * self.factor, self.up)


class AdaptedLayer(nn.Module):
    """A linear layer, the same object as in the network without LoRA, with low-rank products beside it."""

    def __init__(self, layer: nn.Module, adapters: list[Adapter]):
        super().__init__()
        self.layer, self.adapters = layer, nn.ModuleList(adapters)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.names = getattr(layer, "names", ())

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        for adapter in self.adapters:
            out[..., adapter.rows] += adapter(x)
        return out

    def product(self, name: str, x: Tensor) -> Tensor:
        """As FusedLinear's: the layer `name` of those in it, without its bias."""
        out, size = self.layer.product(name, x), self.out_features // len(self.names)
        first = self.names.index(name) * size
        for adapter in self.adapters:
            own = adapter.rows
            start, stop = max(first, own.start), min(first + size, own.stop)
            if start < stop:
                out[..., start - first : stop - first] += adapter(x)[..., start - own.start : stop - own.start]
        return out


def grafted(module: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """`module` with `layers` at the places their names give. Modules on the way to them are copied; every other
    one is the same object in both, so that whoever moves its weights moves them for both."""
    if "" in layers:
        return layers[""]
    below: dict[str, dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        below.setdefault(head, {})[rest] = layer
    clone = copy.copy(module)
    clone._modules = {name: grafted(m, below[name]) if name in below else m for name, m in module._modules.items()}
    return clone


def adapt(network: Backbone, lora: LoRA, strength: float) -> tuple[Backbone, nn.ModuleList]:
    """A network that shares every layer of `network`, with the updates of `lora` beside them; and these alone.

    Raises MGTError for an update of a layer that is not there, is no linear layer, or has another shape."""
    modules = dict(network.named_modules())
    fitting = {name: place for name in lora.updates if (place := find_layer(network, modules, name))}
    if unknown := [name for name in lora.updates if name not in fitting]:
        raise MGTError(
            f"lora {lora.name} updates {len(unknown)} of {len(lora.updates)} layers that this model does not have as "
            f"linear layers: {join_some(unknown)}; it was made for another architecture"
        )
    adapters: dict[str, list[Adapter]] = {}
    dtype = compute_dtype(network)
    for name, (path, rows) in fitting.items():
        layer, update = modules[path], lora.updates[name]
        wanted = (rows.stop - rows.start, layer.in_features)
        if (update.up.shape[0], update.down.shape[1]) != wanted:
            held = f"{update.down.shape[1]} -> {update.up.shape[0]}"
            raise MGTError(
                f"lora {lora.name} updates {name} as {held}, and this model has {wanted[1]} -> {wanted[0]} there: "
                "it was made for another size of model"
            )
        like = next(layer.parameters())
        adapters.setdefault(path, []).append(Adapter(update, rows, strength * update.scale, like, dtype))
    layers = {path: AdaptedLayer(modules[path], parts) for path, parts in adapters.items()}
    return grafted(network, layers), nn.ModuleList(layer.adapters for layer in layers.values())


def find_layer(network: Backbone, modules: Mapping[str, nn.Module], name: str) -> tuple[str, slice] | None:
    """Path of the linear layer that a file calls `name`, and the rows of its output that are meant."""
    candidates, rest = [name], name
    while found := next((p for p in PREFIXES if rest.startswith(p)), None):
        rest = rest.removeprefix(found)
        candidates.append(rest)
    for candidate in [renamed for c in candidates for renamed in (network.renamed(c), c)]:
        parent, _, leaf = candidate.rpartition(".")
        if candidate.startswith(network.uncalled):  # applied by its weight, not called
            continue
        if is_linear(modules.get(candidate)):
            return candidate, slice(0, modules[candidate].out_features)
        for attribute, layer in modules[parent].named_children() if parent in modules else ():
            names = getattr(layer, "names", ())
            if leaf in names and is_linear(layer):
                size = layer.out_features // len(names)
                place = names.index(leaf) * size
                return f"{parent}.{attribute}" if parent else attribute, slice(place, place + size)
    return None


def is_linear(layer: nn.Module | None) -> bool:
    """Also packed ones, which have a geometry where they are convolutions."""
    return hasattr(layer, "in_features") and getattr(layer, "geometry", None) is None


@dataclass(frozen=True)
class AttachedLoRA:
    """What a model says of a LoRA that acts in it."""

    name: str
    strength: float
    layers: int
