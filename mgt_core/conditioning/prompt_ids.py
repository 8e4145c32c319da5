"""Prompts of language models: their words as ids, in the form that the model was trained with."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..errors import MGTError, shortened
from ..loading.building import told_of
from ..plain import members, whole_text
from ..types import NO_WORD, Condition
from .text import TextEncoder

log = logging.getLogger(__name__)

Tokenize = Callable[[str], list[int]]
# Ids of a prompt of a text, which is as long as it may be; of "" those of no prompt at all.
Form = Callable[[Tokenize, str], list[int]]


@dataclass(frozen=True)
class PromptEncoder(TextEncoder):
    """A tokenizer and the form of prompts; the words are embedded by the model itself, and `network` holds nothing.

    max_length: tokens of a text at the most. form: of prompts; it holds no network, which may be replaced by another.
    """

    form: Form | None = None

    def encode(
        self,
        prompts: str | Sequence[str],
        size: tuple[int, int] | None = None,
        weights: bool = False,
        chunks: bool = False,
    ) -> Condition:
        """Prompts to a Condition of that batch: prompt [B, L] long, shorter ones behind NO_WORD.

        size: of no meaning here. Raises MGTError for weights and chunks, which need states of words.
        """
        texts = [prompts] if isinstance(prompts, str) else members(prompts)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise MGTError(f"prompts are {prompts!r}; expected one or more texts")
        rows = [self.form(self.tokens, self.cut(text)) for text in texts]
        longest = max(map(len, rows))
        return Condition(prompt=torch.tensor([[NO_WORD] * (longest - len(row)) + row for row in rows]))

    def tokens(self, text: str) -> list[int]:
        with told_of("the tokenizer", "cannot read the prompt"):
            return list(self.tokenizer(whole_text(text), add_special_tokens=False).input_ids)

    def cut(self, text: str) -> str:
        if note := self.length_note(text):
            log.warning("%s; it is left out", note)
            return self.tokenizer.decode(self.tokens(text)[: self.max_length])
        return text

    def length_note(self, prompt: str, weights: bool = False) -> str | None:
        ids = self.tokens(prompt)
        if len(ids) <= self.max_length:
            return None
        lost = shortened(self.tokenizer.decode(ids[self.max_length :]))
        return f"the prompt has {len(ids)} tokens; the model takes {self.max_length}, which leaves out {lost!r}"
