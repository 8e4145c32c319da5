"""Named parts. A schedule, sampler, modifier, patch, backbone or codec registers itself with one decorator;
widgets, tests and error messages read the names from here."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from .errors import lookup

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps a name to a class or function, in the order of registration."""

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files `T` under `name`; a name can be taken once."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        return list(self._entries)

    def get(self, name: str) -> T:
        """Raises MGTError naming the known entries when `name` is not one of them."""
        return lookup(self.kind, name, self._entries)

    def name_of(self, entry: T) -> str:
        """The name `entry` is registered under, or its own when it is not."""
        return next((name for name, known in self._entries.items() if known is entry), entry.__name__)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module below a package, so that adding a part is adding one file."""
    for module in pkgutil.walk_packages(path, f"{package}."):
        importlib.import_module(module.name)


SCHEDULES: Registry = Registry("schedule")
SAMPLERS: Registry = Registry("sampler")
MODIFIERS: Registry = Registry("modifier")
PATCHES: Registry = Registry("patch")
BACKBONES: Registry = Registry("backbone")
CODECS: Registry = Registry("codec")
TEXT_ENCODERS: Registry = Registry("text encoder")
LANGUAGE_ENCODERS: Registry = Registry("language model")  # that read prompts beside a text encoder
REWARDS: Registry = Registry("reward")
