"""Where the words of objects lie among the rows of an encoded prompt."""

from collections.abc import Sequence

from ..errors import MGTError, shortened
from ..plain import members
from .text import TextEncoder

ARTICLES = ("a", "an", "the")  # words that say nothing of what is to be seen

Word = tuple[int, ...]  # rows of its tokens
Objects = tuple[tuple[Word, ...], ...]  # the words of every object


def object_words(
    encoder: TextEncoder, prompt: str, phrases: Sequence[str], weights: bool = False, chunks: bool = False
) -> Objects:
    """Rows of `encoder.encode(prompt, weights=..., chunks=...)` that hold the words of phrases such as "a red fox":
    the object and its attributes, without articles. A phrase that is given twice is looked for twice.

    Raises MGTError for a phrase that is not in the prompt, or that the encoder cut off, and for one without words.
    """
    if members(phrases) is None or not all(isinstance(phrase, str) for phrase in phrases):
        raise MGTError(f"objects are {phrases!r}; expected some phrases of the prompt")
    tokens, found, taken = encoder.rows_of(prompt, weights, chunks), [], set()
    for phrase in phrases:
        words = phrase.split()
        if not [word for word in words if word.lower() not in ARTICLES]:
            raise MGTError(f"the object {phrase!r} has no word; expected a phrase of the prompt such as 'a red fox'")
        ids = [[token for token, _ in encoder.rows_of(word)] for word in words]
        start = place_of([token for own in ids for token in own], [token for token, _ in tokens], taken)
        if start is None:
            raise MGTError(
                f"the object {phrase!r} is not in the prompt {shortened(prompt)!r}; expected one of its phrases, as it "
                "is written there"
            )
        rows = []
        for word, own in zip(words, ids, strict=True):
            places = range(start, start := start + len(own))
            taken |= set(places)
            if word.lower() not in ARTICLES and own:
                rows.append(tuple(tokens[place][1] for place in places))
        found.append(tuple(rows))
    return tuple(found)


def place_of(wanted: list[int], among: list[int], taken: set[int]) -> int | None:
    """Where `wanted` begins in `among` for the first time, beside the places that are taken."""
    for start in range(len(among) - len(wanted) + 1):
        places = range(start, start + len(wanted))
        if wanted and among[start : start + len(wanted)] == wanted and taken.isdisjoint(places):
            return start
    return None
