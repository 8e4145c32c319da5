"""PEFT's patterns over the names of layers, without Python's regular expressions, which a file could keep busy for
ever: all of them are followed at once, in one pass over a name."""

from collections.abc import Iterable, Mapping
from itertools import product

from ..errors import MGTError, shortened

LONGEST = 300  # characters of a pattern, and of a name that is looked up: more than any layer's
MOST = 1000  # readings of the patterns of a file that are no plain names: "(q|k)x?" has four
ATOMS = 20_000  # characters of all of these; a network of 30 blocks whose layers are all told one by one has 6,000
FOLLOWED = 1_000_000  # characters of names looked up, two seconds' work; 10,000 layers have as many

SPECIAL = frozenset("^$*+?{}[]()|\\")
DIGITS = frozenset("0123456789")
CLASSES = {"d": DIGITS, "w": DIGITS | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")}

Characters = tuple[frozenset[str], bool]  # these, or all but these
Atom = tuple[Characters, bool]  # whether there may be more than one
Ways = list[tuple[Atom, ...]]
ANY: Characters = (frozenset(), True)
OTHER = "\x7f"  # stands for all characters beyond ASCII, which patterns do not name


class Patterns:
    """Values by patterns. The first pattern that is a name, or what follows one of its dots, says its value.

    Raises MGTError for what is none of: characters, "." for any, \\d, \\w, [classes] and (one|of|these), with "?" or
    "{2,3}" behind, or "*" or "+" behind what is one character."""

    def __init__(self, values: Mapping[str, float]):
        self.values = list(values.values())
        self.names: dict[str, int] = {}  # place of patterns without special characters
        self.atoms: list[Atom] = []  # of all readings of the others, one after the other
        self.first = self.last = 0  # bits of the atoms that begin a reading, and that end one
        self.place: dict[int, int] = {}  # of the pattern that ends with an atom
        self.masks: dict[str, int] = {}  # bits of the atoms that a character fits
        self.left, count = FOLLOWED, 0
        for place, pattern in enumerate(values):
            if SPECIAL.isdisjoint(pattern):
                self.names[pattern] = place
                continue
            found = readings(pattern)
            count += len(found)
            if count > MOST or len(self.atoms) + sum(map(len, found)) > ATOMS:
                raise MGTError(
                    f"its patterns have more readings than are followed; accepted are up to {MOST} of {ATOMS} "
                    "characters together, beside plain names"
                )
            for reading in filter(None, found):
                self.first |= 1 << len(self.atoms)
                self.atoms += reading
                self.last |= 1 << len(self.atoms) - 1
                self.place[len(self.atoms) - 1] = place
        self.repeated = bits_of(repeats for _, repeats in self.atoms)

    def get(self, name: str, default: float | None = None) -> float | None:
        """The value for a layer."""
        found, parts = [], name.split(".") if len(name) <= LONGEST else []
        for start in range(len(parts)):
            if (place := self.names.get(".".join(parts[start:]))) is not None:
                found.append(place)
        if self.atoms and parts:
            self.left -= len(name)
            if self.left < 0:
                raise MGTError(f"its patterns are for names of more than {FOLLOWED} characters together")
            if reached := self.reached(name):
                found.append(self.place[(reached & -reached).bit_length() - 1])  # of the first
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
        character = min(character, OTHER)
        if character not in self.masks:
            self.masks[character] = bits_of((character in some) != all_but for (some, all_but), _ in self.atoms)
        return self.masks[character]


def bits_of(flags: Iterable[bool]) -> int:
    """The first flag is the lowest bit."""
    return int("0" + "".join("01"[flag] for flag in flags)[::-1], 2)


def readings(pattern: str) -> Ways:
    """What a pattern stands for, as sequences of atoms."""
    try:
        if len(pattern) > LONGEST:
            raise ValueError
        ways, rest = parsed(pattern.removeprefix("^").removesuffix("$"))
        if rest:
            raise ValueError
        return ways
    except (ValueError, IndexError, RecursionError):
        raise MGTError(
            f"the pattern {shortened(repr(pattern))} is not read; known are names, '.', '\\d', '\\w', '[abc]' and "
            "'(a|b)', with '?' or '{2,3}' behind, or '*' or '+' behind one character, "
            f"up to {LONGEST} characters and {MOST} ways to read them"
        ) from None


def parsed(text: str) -> tuple[Ways, str]:
    """What the begin of `text` stands for, and the rest, from a bracket on that ends it."""
    found: Ways = []
    ways: Ways = [()]
    while text and text[0] != ")":
        if text[0] == "|":
            found, ways, text = found + ways, [()], text[1:]
            continue
        is_group = text[0] == "("
        pieces, text = parsed_group(text) if is_group else parsed_atom(text)
        if text[:1] in ("*", "+", "?", "{"):
            pieces, text = repeated(pieces, text, is_group)
            text = text.removeprefix("?")  # as few as will do: the same for a whole name
        ways = joined(ways, pieces)
        if len(found) + len(ways) > MOST:
            raise ValueError
    return found + ways, text


def parsed_group(text: str) -> tuple[Ways, str]:
    ways, rest = parsed(text[1:].removeprefix("?:"))
    if rest[0] != ")":
        raise ValueError
    return ways, rest[1:]


def parsed_atom(text: str) -> tuple[Ways, str]:
    characters, text = parsed_characters(text)
    return [((characters, False),)], text


def repeated(pieces: Ways, text: str, is_group: bool) -> tuple[Ways, str]:
    """`pieces` as often as the begin of `text` says, and the rest of it."""
    sign, text = text[0], text[1:]
    if sign == "?":
        return [(), *pieces], text
    if sign != "{":
        if is_group:
            raise ValueError
        many: Ways = [((pieces[0][0][0], True),)]
        return many if sign == "+" else [(), *many], text
    counts, end, text = text.partition("}")
    least, comma, most = counts.partition(",")
    most = most if comma else least
    if not end or not most.isdecimal() or not (least or "0").isdecimal() or int(most) > LONGEST:
        raise ValueError
    found: Ways = []
    ways: Ways = [()]
    for count in range(int(most) + 1):
        if count >= int(least or 0):
            found += ways
        ways = joined(ways, pieces)
        if len(found) > MOST:
            raise ValueError
    return found, text


def joined(ways: Ways, pieces: Ways) -> Ways:
    """Each of `ways` with each of `pieces` behind it. Raises ValueError for too many."""
    if len(ways) * len(pieces) > MOST or len(ways[0]) > LONGEST:
        raise ValueError
    return [(*way, *piece) for way, piece in product(ways, pieces)]


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
    if first >= OTHER:
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
