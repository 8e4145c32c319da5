"""The help pages, and what a translation has to keep of the English one."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .locales import ENGLISH, NATIVE, read
from .node_runs import NODES, inputs
from .pack import ROOT

DOCS = ROOT / "web" / "docs"

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
BOLD = re.compile(r"\*\*(?![\s*])(.+?)(?<![\s*])\*\*")
SLANTED = re.compile(r"(?<!\*)\*(?![\s*])([^*\n]+?)(?<!\s)\*(?!\*)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORDS = re.compile(r"[A-Za-z]{2,} [a-z]{2,}")
# What a line is, by how it begins; the first that fits.
KINDS = {
    "heading": r"#+ ",
    "picture": r"!\[",
    "row": r"\|",
    "item": r" {0,3}- ",  # indented further it is code
    "step": r" *\d+\. ",
    "code": r" {4}",
    "paragraph": "",
}


def source(name: str) -> Path:
    """Written by hand, and shown in the languages without a page of their own."""
    return DOCS / f"{name}.md"


def path_of(name: str, language: str) -> Path:
    """Where the front end asks first."""
    return DOCS / name / f"{language}.md"


@dataclass(frozen=True)
class Page:
    """A page's Markdown, by what it is made of."""

    text: str

    @property
    def lines(self) -> list[str]:
        """Without fenced code and empty lines."""
        return [line for line in FENCED.sub("", self.text).splitlines() if line.strip()]

    @property
    def prose(self) -> str:
        """Without code."""
        return "\n".join(CODE.sub("``", line) for line in self.lines if kind(line) != "code")

    @property
    def shape(self) -> list[str]:
        return [kind(line) for line in self.lines]

    @property
    def code(self) -> set[str]:
        blocks = [line.strip() for line in self.lines if kind(line) == "code"]
        return {*FENCED.findall(self.text), *blocks, *CODE.findall(FENCED.sub("", self.text))}

    @property
    def addresses(self) -> list[str]:
        return sorted(address for _, _, address in LINK.findall(self.prose))

    @property
    def bold(self) -> list[str]:
        return BOLD.findall(self.prose)

    @property
    def slanted(self) -> set[str]:
        return set(SLANTED.findall(self.prose))

    @property
    def numbers(self) -> set[str]:
        return set(NUMBER.findall(re.sub(r"^ *\d+\. ", "", LINK.sub(r"\2", self.prose), flags=re.MULTILINE)))


def kind(line: str) -> str:
    found = next(kind for kind, begin in KINDS.items() if re.match(begin, line))
    signs = re.match(r"#+| *", line)[0] if found in ("heading", "item") else ""
    return f"{found} {len(signs)}" if found in ("heading", "item") else found


def shown(language: str, name: str) -> list[tuple[str, str]]:
    """(key, name that the front end shows) of every input and output of a node."""
    texts, cls = read(language, "nodeDefs.json").get(name, {}), NODES[name]
    found = [(key, texts.get("inputs", {}).get(key, {})) for key in inputs(cls)]
    found += [(key, texts.get("outputs", {}).get(str(place), {})) for place, key in enumerate(cls.RETURN_NAMES)]
    return [(key, text.get("name", key)) for key, text in found]


def unnamed(page: Page, sockets: list[tuple[str, str]]) -> Iterator[str]:
    """Each is there in bold: its key, and what it is shown as."""
    for key, name in sockets:
        word = rf"(?<![A-Za-z0-9_]){re.escape(key)}(?![A-Za-z0-9_])"
        if not any(re.search(word, bold) and name in bold for bold in page.bold):
            wanted = key if key.lower() == name.lower() else f"{name}（{key}）"
            yield f"no **{wanted}**"


def lost(english: Page, page: Page) -> Iterator[str]:
    """Of the English page: what stays as it is in every language."""
    for number, (theirs, ours) in enumerate(zip(english.shape, page.shape)):
        if theirs != ours:
            yield f"a {ours} where the English page has a {theirs}: {page.lines[number][:60]}"
            break
    if len(english.shape) != len(page.shape):
        yield f"{len(page.shape)} lines where the English page has {len(english.shape)}"
    bare = LINK.sub("", page.prose)
    if english.addresses != page.addresses:
        yield f"links and pictures differ: {sorted(set(english.addresses) ^ set(page.addresses))}"
    yield from (f"no {code}" for code in sorted(english.code - page.code))
    yield from (f"{code} is not in the English page" for code in sorted(page.code - english.code))
    yield from (f"no *{text}*" for text in sorted(english.slanted) if text not in bare)
    yield from (f"no {number}" for number in sorted(english.numbers - page.numbers))


def untranslated(page: Page, language: str) -> Iterator[str]:
    """Lines, alternative texts included, with words and no character of the language."""
    native = re.compile(NATIVE[language])
    for line in page.lines:
        alternatives = [text for picture, text, _ in LINK.findall(line) if picture]
        bare = SLANTED.sub("", LINK.sub("", CODE.sub("", line)))
        for text in [*alternatives, bare if kind(line) != "code" else ""]:
            if WORDS.search(text) and not native.search(text):
                yield f"still in English: {text.strip()}"


def open_stars(page: Page) -> Iterator[str]:
    """CommonMark closes no bold between a bracket and a letter, and shows the stars instead."""
    for line in page.prose.splitlines():
        for pattern in (BOLD, SLANTED):
            for found in pattern.finditer(line):
                before, after = line[: found.start()][-1:] or " ", line[found.end() :][:1] or " "
                if not (joins(found[1][-1], after) and joins(found[1][0], before)):
                    yield f"put a space or punctuation beside {found[0]}"
        if "*" in SLANTED.sub("", BOLD.sub("", line)):
            yield f"a star too many: {line.strip()[:60]}"


def joins(inner: str, outer: str) -> bool:
    return not is_sign(inner) or outer.isspace() or is_sign(outer)


def is_sign(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def faults(english: Page, page: Page, name: str, language: str) -> list[str]:
    """What is wrong with a translated page, a sentence each."""
    found = [*unnamed(page, shown(language, name)), *lost(english, page)]
    return found + [*untranslated(page, language), *open_stars(page)]


def titled(name: str, language: str) -> str:
    """The first line: the name of the node, in English where it has none in the language."""
    names = [read(asked, "nodeDefs.json").get(name, {}).get("display_name") for asked in (language, ENGLISH)]
    return f"# {names[0] or names[1]}"


def check(name: str, language: str) -> list[str]:
    """The faults of the page of a node in a language."""
    path = path_of(name, language)
    if not path.is_file():
        return ["is missing: write it"]
    page, english = (Page(file.read_text(encoding="utf-8")) for file in (path, source(name)))
    title = titled(name, language)
    found = [] if page.lines[0] == title else [f"has to begin with {title!r}"]
    return found if language == ENGLISH else found + faults(english, page, name, language)
