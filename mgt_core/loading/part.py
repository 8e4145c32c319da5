"""One network of a bundle as its files describe it, read once."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MGTError, join_some
from ..registry import BACKBONES, CODECS, LANGUAGE_ENCODERS, TEXT_ENCODERS, Registry
from .audiocraft import POINTER, config_in
from .disk import is_dir, is_file, read_json
from .foreign import Foreign, by_config
from .stored import Stored
from .weights import index_weights, notes_in, shapes_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """path: folder or file. kind: its class among backbones, codecs and text encoders, None for none of them. config:
    its config.json, or what a file of torch.save says in its place (audiocraft.py), empty when there is none. stored:
    its tensors, by plain names (wrappers.py). codes: size of its codebook, None where that cannot be told. pointer: the
    repository that it names in place of tensors. reads: that of the text encoder that it names and does not bring.
    problem: why it cannot be read, which matters once it is chosen. foreign: what it is instead of a part of a known
    kind, where that was asked."""

    path: Path
    kind: Any = None
    config: dict = field(default_factory=dict, repr=False)
    stored: Mapping[str, Stored] = field(default_factory=dict, repr=False)
    codes: int | None = None
    pointer: str = ""
    reads: str = ""
    problem: Exception | None = None
    foreign: Foreign | None = None

    def tensors(self) -> dict[str, Stored]:
        """Those that the network takes, by its own names for them."""
        return {
            own: entry if rows is None else entry.part(rows)
            for name, entry in self.stored.items()
            if not self.kind.leaves(name)
            for own, rows in self.kind.divided(name, entry.shape).items()
        }

    def is_of(self, registry: Registry) -> bool:
        return self.kind in map(registry.get, registry)


def read_part(path: Path) -> Part:
    """What a folder or file of weights holds: known or not, readable or not."""
    try:
        config = read_config(path)
        stored = index_weights(path, lambda tensors: kind_of(config, shapes_of(tensors)))
    except (MGTError, OSError) as error:
        log.debug("%s is passed over: %s", path, error)
        return Part(path, problem=error)
    shapes = shapes_of(stored)
    kind = kind_of(config, shapes)
    try:
        codes = kind.codes_in(config, shapes) if kind else None
    except Exception:  # loading says what is wrong
        codes = None
    try:
        reads = kind.text_encoder_in(config) if kind else ""
    except MGTError:  # as above
        reads = ""
    return Part(path, kind, config, stored, codes, "" if stored else notes_in(path).get(POINTER, ""), reads)


def kind_of(config: dict, shapes: dict[str, tuple[int, ...]]) -> Any:
    """The class that knows a network with this config and these tensors; None where none does."""
    known = (registry.get(name) for registry in (BACKBONES, CODECS, TEXT_ENCODERS) for name in registry)
    return next((kind for kind in known if kind.recognizes(config, shapes)), None)


def config_file(path: Path) -> Path:
    """config.json of a folder, or the .json file named like a weight file."""
    return path / "config.json" if is_dir(path) else path.with_suffix(".json")


def read_config(path: Path) -> dict:
    """What the config of a folder or weight file says, else what the file itself does; empty when there is none."""
    file = config_file(path)
    if is_file(file):
        return read_json(file)
    return config_in(path, notes_in(path))


def as_transformer(part: Part) -> Part:
    """`part`, which can be built. Raises MGTError saying why not."""
    return known_part(part, BACKBONES, "architecture")


def as_codec(part: Part) -> Part:
    """`part`, which can be built. Raises MGTError saying why not."""
    return known_part(part, CODECS, "codec")


def as_text_encoder(part: Part) -> Part:
    """`part`, which can be built. Raises MGTError saying why not."""
    return known_part(part, TEXT_ENCODERS, "text encoder")


def as_language(part: Part) -> Part:
    """`part`, which can be built. Raises MGTError saying why not."""
    return known_part(part, LANGUAGE_ENCODERS, "language model")


def known_part(part: Part, registry: Registry, what: str) -> Part:
    if part.problem:
        raise part.problem
    if registry is BACKBONES and not part.kind and (told := by_config(part.config)):
        raise MGTError(f"{part.path} is {told.what}: {told.advice}")
    if not part.is_of(registry):
        raise MGTError(
            f"{part.path} holds no {what} this pack knows ({', '.join(registry)}); "
            + (f"its first tensors are {join_some(sorted(part.stored))}" if part.stored else "it holds no tensors")
        )
    if part.kind.needs_config and not part.config:
        raise MGTError(f"{config_file(part.path)} is missing; a base bundle of the same network lends its own")
    return part
