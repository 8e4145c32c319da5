"""Prompts of language models: their words as ids, in the form that the model was trained with."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import shortened
from ..loading.building import told_of
from ..plain import whole_text
from ..types import NO_WORD, Condition
from .picture_form import PictureForm
from .text import SavedText, TextEncoder, texts_of

log = logging.getLogger(__name__)

WEIGHT = re.compile(r"\([^()]*:\s*[0-9]*\.?[0-9]+\s*\)")  # as in (red:1.2)

Tokenize = Callable[[str], list[int]]
# Ids of a prompt of a text, which is as long as it may be; of "" those of no prompt at all.
Written = Callable[[Tokenize, str], list[int]]


@dataclass(frozen=True)
class Framed:
    """Prompts that are a task, a start, the ids of a text and an end, as Show-o and MMaDA have them: what is too long
    is cut by ids. task: an id. The start is left out where the text begins with it."""

    task: int

    def __call__(self, ids: Sequence[int], start: int, end: int, longest: int) -> list[int]:
        """longest: ids of a text with a start of ours."""
        begun = ids if ids[:1] == [start] else [start, *ids]
        return [self.task, *begun[: longest + 1], end]


Form = Written | Framed


@dataclass(frozen=True)
class PromptEncoder(TextEncoder):
    """A tokenizer and the form of prompts; the words are embedded by the model itself, and `network` holds nothing.

    max_length: tokens of a text at the most. form: of prompts; it holds no network, which may be replaced by another.
    pictures: how those are read among words, None where they are not.
    """

    form: Form | None = None
    pictures: PictureForm | None = None

    def encode(
        self,
        prompts: str | Sequence[str],
        size: tuple[int, int] | None = None,
        weights: bool = False,
        chunks: bool = False,
    ) -> Condition:
        """Prompts to a Condition of that batch, prompt [B, L] long, shorter ones behind NO_WORD. "" is no prompt.

        size, weights, chunks: of no meaning here, where a text is read as it stands and is as long as it may be.
        """
        texts = texts_of(prompts)
        for text in texts:
            if note := self.length_note(text, weights):
                log.warning("%s", note)
        return prompts_of([self.row(text) for text in texts])

    @property
    def saved(self) -> tuple[SavedText, ...]:
        return (SavedText("", None, self.tokenizer, "tokenizer"),)

    def row(self, text: str) -> list[int]:
        """Ids of a prompt of a text."""
        if not isinstance(self.form, Framed):
            return self.form(self.tokens, self.cut(text))
        words = self.tokenizer
        return self.form(self.tokens(text), words.bos_token_id, words.eos_token_id, self.max_length)

    def tokens(self, text: str) -> list[int]:
        with told_of("the tokenizer", "cannot read the prompt"):
            return list(self.tokenizer(whole_text(text), add_special_tokens=False).input_ids)

    def cut(self, text: str) -> str:
        ids = self.tokens(text)
        return text if len(ids) <= self.max_length else self.tokenizer.decode(ids[: self.max_length])

    def length_note(self, prompt: str, weights: bool = False) -> str | None:
        """weights: whether some are meant, which have no effect."""
        ids, notes = self.tokens(prompt), []
        if len(ids) > self.max_length:
            lost = shortened(self.tokenizer.decode(ids[self.max_length :]))
            notes.append(
                f"the prompt has {len(ids)} tokens; the model takes {self.max_length}, which leaves out {lost!r}"
            )
        if weights and (found := WEIGHT.search(prompt)):
            notes.append(f"{found[0]!r} is read as it stands: a language model takes no weights of words")
        return "; ".join(notes) or None

    def spans_of(self, prompt: str) -> list[tuple[int, int, int]]:
        """Of every token of a prompt's text: its first and last letter there, and its row in `encode`'s prompt."""
        text = prompt if isinstance(self.form, Framed) else self.cut(prompt)
        ids, held = self.tokens(text)[: self.max_length], self.row(text)
        first = next(place for place in range(len(held)) if held[place : place + len(ids)] == ids)
        letters = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return [(begin, end, first + place) for place, (begin, end) in enumerate(letters[: len(ids)])]


def prompts_of(rows: Sequence[Sequence[int]]) -> Condition:
    """Prompts of ids as one Condition, shorter ones behind NO_WORD."""
    longest = max(map(len, rows))
    return Condition(prompt=torch.tensor([[NO_WORD] * (longest - len(row)) + list(row) for row in rows]))
