"""PEFT's patterns over the names of layers, without Python's regular expressions, which a file could keep busy for
ever: all of them are followed at once, in one pass over a name."""

from collections.abc import Mapping
from itertools import product

from ..errors import MGTError

LONGEST = 300  # characters of a pattern, and of a name that is looked up: more than any layer's
MOST = 64  # readings of the patterns of a file that are no plain names: "(q|k)x?" has four

SPECIAL = frozenset("^$*+?{}[]()|\\")
DIGITS = frozenset("0123456789")
CLASSES = {"d": DIGITS, "w": DIGITS | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")}

Characters = tuple[frozenset[str], bool]  # these, or all but these
Atom = tuple[Characters, bool]  # whether there may be more than one
Ways = list[tuple[Atom, ...]]
ANY: Characters = (frozenset(), True)


class Patterns:
    """Values by patterns. The first pattern that is a name, or what follows one of its dots, says its value.

    Raises MGTError for what is none of: characters, "." for any, \\d, \\w, [classes] and (one|of|these), with "*", "+"
    or "?" behind what is one character."""

    def __init__(self, values: Mapping[str, float]):
        self.values = list(values.values())
        self.names: dict[str, int] = {}  # place of patterns without special characters
        self.atoms: list[Atom] = []  # of all readings of the others, one after the other
        self.first = self.last = 0  # bits of the atoms that begin a reading, and that end one
        self.place: dict[int, int] = {}  # of the pattern that ends with an atom
        self.masks: dict[str, int] = {}  # bits of the atoms that a character fits
        for place, pattern in enumerate(values):
            if SPECIAL.isdisjoint(pattern):
                self.names[pattern] = place
                continue
            for reading in filter(None, readings(pattern)):
                self.first |= 1 << len(self.atoms)
                self.atoms += reading
                self.last |= 1 << len(self.atoms) - 1
                self.place[len(self.atoms) - 1] = place
        if len(self.place) > MOST:
            raise MGTError(f"its patterns are {len(self.place)} at least; accepted are up to {MOST} beside plain names")
        self.repeated = sum(1 << place for place, (_, repeats) in enumerate(self.atoms) if repeats)

    def get(self, name: str, default: float | None = None) -> float | None:
        """The value for a layer."""
        found, parts = [], name.split(".") if len(name) <= LONGEST else []
        for start in range(len(parts)):
            if (place := self.names.get(".".join(parts[start:]))) is not None:
                found.append(place)
        if self.atoms and parts:
            reached = self.reached(name)
            found += [place for atom, place in self.place.items() if reached >> atom & 1]
        return self.values[min(found)] if found else default

    def reached(self, name: str) -> int:
        """Bits of the last atoms of the readings that fit (bit-parallel search, Baeza-Yates and Gonnet 1992)."""
        bits, before = 0, "."
        for character in name:
            begun = self.first if before == "." else 0
            bits = ((bits << 1 & ~self.first) | begun | (bits & self.repeated)) & self.mask(character)
            before = character
        return bits & self.last

    def mask(self, character: str) -> int:
        if character not in self.masks:
            fits = ((character in some) != all_but for (some, all_but), _ in self.atoms)
            self.masks[character] = sum(1 << place for place, fit in enumerate(fits) if fit)
        return self.masks[character]


def readings(pattern: str) -> Ways:
    """What a pattern stands for, as sequences of atoms."""
    try:
        ways, rest = parsed(pattern.removeprefix("^").removesuffix("$"))
        if rest or len(pattern) > LONGEST:
            raise ValueError
        return ways
    except (ValueError, IndexError, RecursionError):
        raise MGTError(
            f"the pattern {pattern!r} is not read; known are names, '.', '\\d', '\\w', '[abc]' and '(a|b)', with '*', "
            f"'+' or '?' behind one character, up to {LONGEST} characters and {MOST} ways to read them"
        ) from None


def parsed(text: str) -> tuple[Ways, str]:
    """What the begin of `text` stands for, and the rest, from a bracket on that ends it."""
    found: Ways = []
    ways: Ways = [()]
    while text and text[0] != ")":
        if text[0] == "|":
            found, ways, text = found + ways, [()], text[1:]
            continue
        pieces, text = parsed_group(text) if text[0] == "(" else parsed_atom(text)
        ways = [(*way, *piece) for way, piece in product(ways, pieces)]
        if len(found) + len(ways) > MOST:
            raise ValueError
    return found + ways, text


def parsed_group(text: str) -> tuple[Ways, str]:
    ways, rest = parsed(text[1:].removeprefix("?:"))
    if rest[0] != ")" or rest[1:2] in ("*", "+", "?", "{"):
        raise ValueError
    return ways, rest[1:]


def parsed_atom(text: str) -> tuple[Ways, str]:
    characters, text = parsed_characters(text)
    behind = text[0] if text[:1] in ("*", "+", "?") else ""
    text = text.removeprefix(behind)
    once: Ways = [((characters, behind in ("*", "+")),)]
    return [(), *once] if behind in ("*", "?") else once, text


def parsed_characters(text: str) -> tuple[Characters, str]:
    first, text = text[0], text[1:]
    if first == ".":
        return ANY, text
    if first == "[":
        inside, _, text = text.partition("]")
        return (characters_of(inside.removeprefix("^")), inside[0] == "^"), text
    if first == "\\":
        if text[0].isalnum() and text[0] not in CLASSES:
            raise ValueError
        return (CLASSES.get(text[0], frozenset(text[0])), False), text[1:]
    if first in SPECIAL:
        raise ValueError
    return (frozenset(first), False), text


def characters_of(inside: str) -> frozenset[str]:
    """Those of a class such as "a-z_"."""
    found: set[str] = set()
    while inside:
        if inside[0] in "\\[" or inside[0] > "~":
            raise ValueError
        if inside[1:2] == "-" and "" < inside[2:3] <= "~":
            found.update(map(chr, range(ord(inside[0]), ord(inside[2]) + 1)))
            inside = inside[3:]
        else:
            found.add(inside[0])
            inside = inside[1:]
    return frozenset(found)
