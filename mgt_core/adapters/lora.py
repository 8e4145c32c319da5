"""Files of small trained changes, LoRAs and their kin, as trainers write them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import MGTError, join_some, shortened
from ..loading.building import told_of
from ..loading.disk import is_dir, is_file
from ..loading.downloads import told_of_downloads
from ..loading.endings import SUFFIXES
from ..loading.hub import entered, name_of
from ..loading.stored import Stored
from ..loading.weights import index_weights, open_weights
from .changes import Bias
from .kinds import Held, Update, bias_of, update_of
from .names import is_of_text
from .products import LowRank
from .settings import Settings
from .spellings import refused, spelled

__all__ = ["LoRA", "LowRank"]

MOST = 100_000  # tensors: more than three for each layer of any network
APPLIED = "LoRA, DoRA, LoHa, LoKr, GLoRA, (IA)^3 and whole differences"


@dataclass(frozen=True)
class LoRA:
    """What a LoRA file holds. updates, biases: what becomes of layers, by the names that the file gives them. text:
    how many tensors it holds for a text encoder, which are not read."""

    name: str
    updates: Mapping[str, Update] = field(repr=False)
    text: int = 0
    biases: Mapping[str, Bias] = field(repr=False, default_factory=dict)

    @property
    def layers(self) -> int:
        return len({**self.updates, **self.biases})

    @classmethod
    def load(cls, source: str | os.PathLike) -> "LoRA":
        """A file, or a folder that PEFT wrote, also in a cache (loading/hub.py). Raises MGTError for one that holds
        anything but what is applied."""
        named = isinstance(source, (str, os.PathLike)) and str(source)
        path = entered(Path(source)) if named else Path(os.devnull)
        if not is_dir(path) and (not is_file(path) or path.suffix not in SUFFIXES):
            raise MGTError(f"lora is {str(source)!r}; expected a file of type {', '.join(SUFFIXES)}, or PEFT's folder")
        source = path
        with told_of_downloads(source):
            stored = index_weights(source)
        if len(stored) > MOST:
            raise MGTError(f"{source.name} holds {len(stored)} tensors; a LoRA has up to {MOST}")
        taken = {name: entry for name, entry in stored.items() if not is_of_text(name)}
        layers = by_layers(taken, source.name)
        if not layers:
            raise MGTError(f"{source.name} holds no LoRA for a transformer")
        with told_of(source, "has settings that cannot be read"):
            settings = Settings.of(source, next(iter(taken.values())).file)
        updates, biases, opened = {}, {}, cache(open_weights)
        for layer, parts in layers.items():
            tensors = {}
            for part, entry in parts.items():
                with told_of(entry.file, "cannot be read"):
                    tensors[part] = opened(entry.file)(entry.name).detach().clone()
            held = Held(source.name, layer, tensors, settings)
            if update := update_of(held):
                updates[layer] = update
            if bias := bias_of(held, update):
                biases[layer] = bias
        if settings.decomposed and not any("magnitude" in parts for parts in layers.values()):
            raise MGTError(f"{source.name} is a DoRA by its settings, and holds no magnitudes of its layers")
        return cls(name_of(source).removesuffix(source.suffix), updates, len(stored) - len(taken), biases)


def by_layers(stored: Mapping[str, Stored], file: str) -> dict[str, dict[str, Stored]]:
    """The parts of every layer. Raises MGTError for tensors that are no such parts, and for two of one part."""
    layers: dict[str, dict[str, Stored]] = {}
    unknown = []
    for name, entry in stored.items():
        if (found := spelled(name)) is None:
            unknown.append(name)
            continue
        parts = layers.setdefault(found.layer, {})
        if found.part in parts:
            raise MGTError(
                f"{file} holds two tensors that say the same of {shortened(found.layer)}: {parts[found.part].name} and "
                f"{name}; save one adapter a file"
            )
        parts[found.part] = entry
    unknown += [entry["weight"].name for entry in layers.values() if "weight" in entry and "on_input" not in entry]
    for name in unknown:
        if what := refused(name):
            raise MGTError(
                f"{file} is {what}, which this pack does not apply, by {shortened(name)}; accepted are {APPLIED}"
            )
    if unknown:
        raise MGTError(
            f"{file} holds tensors that are no LoRA of linear layers: {join_some(map(shortened, unknown))}; accepted "
            f"are {APPLIED}"
        )
    return layers
