"""What a patch keeps of each condition."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from .base import Entry


class Piece(Protocol):
    """Values of some images, those of several conditions one below the other."""

    def __len__(self) -> int: ...

    def __getitem__(self, images: slice) -> "Piece": ...


P = TypeVar("P", bound=Piece)


class Pieces(dict[tuple[Entry, ...], P]):
    """By the conditions of a call. Those evaluated together lie in one piece; one that is then evaluated alone uses its
    part of it."""

    def find(self, entries: tuple[Entry, ...]) -> P | None:
        if entries in self or len(entries) > 1:
            return self.get(entries)
        for held, piece in self.items():
            if entries[0] in held:
                images = len(piece) // len(held)
                first = held.index(entries[0]) * images
                return piece[first : first + images]
        return None

    def forget(self, entries: Sequence[Entry]) -> None:
        """Every piece that holds one of `entries`."""
        for held in [held for held in self if not set(held).isdisjoint(entries)]:
            del self[held]
