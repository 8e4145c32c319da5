"""Where the words of objects lie among the rows of an encoded prompt."""

import re
from collections.abc import Sequence

from ..errors import MGTError, shortened
from ..plain import members, whole_text
from .prompt_ids import PromptEncoder
from .text import TextEncoder

ARTICLES = ("a", "an", "the")  # words that say nothing of what is to be seen

Word = tuple[int, ...]  # rows of its tokens
Object = tuple[Word, ...]
Objects = tuple[Object, ...]


def object_words(
    encoder: TextEncoder, prompt: str, phrases: Sequence[str], weights: bool = False, chunks: bool = False
) -> Objects:
    """Rows of `encoder.encode(prompt, weights=..., chunks=...)` that hold the words of phrases such as "a red fox":
    the object and its attributes, without articles. A phrase that is given twice is looked for twice.

    Raises MGTError for a phrase that is not in the prompt, or that the encoder cut off, and for one without words.
    """
    return objects_of([prompt], phrases, encoder, weights, chunks)[0]


def objects_of(
    prompts: Sequence[str], phrases: Sequence[str], encoder: TextEncoder, weights: bool = False, chunks: bool = False
) -> tuple[Objects, ...]:
    """The same of several prompts, each of which has those objects that it names. Raises MGTError for a phrase that is
    in none of them."""
    if members(phrases) is None or not all(isinstance(phrase, str) for phrase in phrases):
        raise MGTError(f"objects are {phrases!r}; expected some phrases of the prompt")
    if isinstance(encoder, PromptEncoder):
        found = [spelled_in(prompt, phrases, encoder) for prompt in prompts]
    else:
        found = [found_in(encoder.rows_of(prompt, weights, chunks), phrases, encoder) for prompt in prompts]
    for phrase, *places in zip(phrases, *found, strict=True):
        if not any(places):
            where = " and ".join(repr(shortened(prompt)) for prompt in prompts[:2])
            raise MGTError(
                f"the object {phrase!r} is not in the prompt {where}; expected a phrase as it is written there"
            )
    return tuple(tuple(words for words in own if words) for own in found)


def found_in(tokens: Sequence[tuple[int, int]], phrases: Sequence[str], encoder: TextEncoder) -> list[Object | None]:
    """The words of every phrase among tokens (id, row); None for one that is not there."""
    found, taken = [], set()
    for phrase in phrases:
        words = words_of(phrase)
        for ids in encoder.spellings(words):
            start = place_of([token for own in ids for token in own], [token for token, _ in tokens], taken)
            if start is not None:
                break
        else:
            found.append(None)
            continue
        rows = []
        for word, own in zip(words, ids, strict=True):
            places = range(start, start := start + len(own))
            taken |= set(places)
            if word.lower() not in ARTICLES and own:
                rows.append(tuple(tokens[place][1] for place in places))
        found.append(tuple(rows))
    return found


def spelled_in(prompt: str, phrases: Sequence[str], encoder: PromptEncoder) -> list[Object | None]:
    """The same by the letters: tokens of a language model differ with what stands before a word."""
    prompt = whole_text(prompt)  # whose letters are counted
    spans, taken, found = encoder.spans_of(prompt), [], []
    for phrase in phrases:
        words = words_of(phrase)
        pattern = r"(?<!\w)" + r"\s+".join(f"({re.escape(word)})" for word in words) + r"(?!\w)"
        matches = re.finditer(pattern, prompt, re.IGNORECASE)
        free = (m for m in matches if all(m.end() <= begin or m.start() >= end for begin, end in taken))
        if (match := next(free, None)) is None:
            found.append(None)
            continue
        taken.append(match.span())
        own = [match.span(place) for place, word in enumerate(words, 1) if word.lower() not in ARTICLES]
        rows = (tuple(row for first, last, row in spans if first < end and last > begin) for begin, end in own)
        found.append(tuple(filter(None, rows)) or None)  # what was cut off has no rows
    return found


def words_of(phrase: str) -> list[str]:
    words = phrase.split()
    if not [word for word in words if word.lower() not in ARTICLES]:
        raise MGTError(f"the object {phrase!r} has no word; expected a phrase of the prompt such as 'a red fox'")
    return words


def place_of(wanted: list[int], among: list[int], taken: set[int]) -> int | None:
    """Where `wanted` begins in `among` for the first time, beside the places that are taken."""
    for start in range(len(among) - len(wanted) + 1):
        places = range(start, start + len(wanted))
        if wanted and among[start : start + len(wanted)] == wanted and taken.isdisjoint(places):
            return start
    return None
