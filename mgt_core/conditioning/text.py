"""CLIP text encoder as masked transformers use it: penultimate states and projected pooled output."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import MGTError, shortened
from ..loading.building import told_of
from ..placement import Placement, Resident
from ..plain import members, whole_text
from ..sampling.finite import all_finite, non_finite_origin
from ..types import Condition, micro_conditions
from .prompts import Token, chunked, parse_weights

log = logging.getLogger(__name__)


class SavedText(NamedTuple):
    """A network of a text encoder as a bundle holds it. folder, words: of its weights and of its tokenizer. checkpoint:
    as TextEncoder has it. network: None where there are words alone."""

    folder: str
    network: nn.Module | None
    tokenizer: Any
    words: str
    checkpoint: str = ""


def texts_of(prompts: str | Sequence[str]) -> Sequence[str]:
    """Raises MGTError for anything but texts, and for none."""
    texts = [prompts] if isinstance(prompts, str) else members(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise MGTError(f"prompts are {prompts!r}; expected one or more texts")
    return texts


@dataclass(frozen=True)
class TextEncoder:
    """transformers' CLIPTextModelWithProjection and its tokenizer.

    max_length: tokens a prompt is padded or cut to. checkpoint: repository whose weights
    these are, where that is known.
    """

    network: nn.Module
    tokenizer: Any
    max_length: int
    placement: Placement | None = None
    checkpoint: str = ""

    def with_placement(self, placement: Placement) -> "TextEncoder":
        return replace(self, placement=placement)

    def with_alone(self, alone: bool = True) -> "TextEncoder":
        """One whose prompts do not depend on those beside them in a batch. Those of most encoders never do."""
        return self

    @torch.inference_mode()
    def encode(
        self,
        prompts: str | Sequence[str],
        size: tuple[int, int] | None = None,
        weights: bool = False,
        chunks: bool = False,
    ) -> Condition:
        """Prompts to a Condition of that batch, on the encoder's device.

        hidden [B, L, D]: hidden_states[-2], without the final norm; pooled [B, P]: projected state of
        the end token (Meissonic's pipeline). size: (height, width) in pixels; fills the
        micro-conditions, which are otherwise filled when sampling starts.
        weights: parentheses weigh words, as ComfyUI has it (see parse_weights): states are moved away from
        those of an empty prompt; pooled is left alone. Otherwise the text is taken literally.
        chunks: a prompt longer than max_length is encoded in parts whose states follow each other, L being
        a multiple of max_length, and pooled is that of the first; shorter ones beside it are filled up with
        empty parts. Otherwise it is cut, as Meissonic's pipeline does. Both with a warning.
        """
        texts = texts_of(prompts)
        for prompt in texts:
            if note := self.length_note(prompt, weights):
                log.warning("%s%s", note, "" if chunks else "; it is left out")
        device = (self.placement or Resident(self.network)).acquire()
        parts = [self._parts(prompt, weights, chunks) for prompt in texts]
        longest = max(map(len, parts))
        rows = [row for chunked_prompt in parts for row in chunked_prompt + [[]] * (longest - len(chunked_prompt))]
        weighted = any(weight != 1 for row in rows for _, weight in row)
        framed = [tuple(self._framed([i for i, _ in row])) for row in ([*rows, []] if weighted else rows)]
        distinct = list(dict.fromkeys(framed))  # images of one prompt share its encoding
        states = self._states(torch.tensor(distinct, device=device))
        places = torch.tensor([distinct.index(row) for row in framed], device=device)
        hidden, *pooled = (values[places] for values in states)
        if weighted:
            hidden = self._weighted(hidden, rows)
        micro = None if size is None else micro_conditions(size).expand(len(texts), -1).to(device)
        hidden = hidden.reshape(len(texts), longest * self.max_length, -1)
        return Condition(hidden, *(values[: len(rows) : longest] for values in pooled), micro=micro)

    def _states(self, ids: Tensor) -> tuple[Tensor, ...]:
        """[R, max_length] -> hidden [R, max_length, D], and pooled [R, P] where the same network makes it."""
        out = self.network(ids, output_hidden_states=True, return_dict=True)
        self._check_finite(self.network, ids, out.hidden_states[-2], out.text_embeds)
        return out.hidden_states[-2], out.text_embeds

    @staticmethod
    def _check_finite(network: nn.Module, ids: Tensor, *states: Tensor) -> None:
        if not all_finite(*states):
            origin = non_finite_origin(network, lambda: network(ids), "its last layer")
            raise MGTError(f"the text encoder made states that are not finite numbers; they begin in {origin}")

    @property
    def widths(self) -> dict[str, int]:
        """Of what it makes, by the fields of Condition."""
        return {"hidden": self.network.config.hidden_size, "pooled": self.network.config.projection_dim}

    @property
    def saved(self) -> tuple[SavedText, ...]:
        """What a bundle holds of it."""
        return (SavedText("text_encoder", self.network, self.tokenizer, "tokenizer", self.checkpoint),)

    def length_note(self, prompt: str, weights: bool = False) -> str | None:
        """One sentence for a prompt that is longer than the encoder takes, which the models' own code would cut."""
        ids = [i for piece in self._pieces(prompt, weights) for i, _ in piece]
        if len(ids) <= self.room:
            return None
        lost = shortened(self.tokenizer.decode(ids[self.room :]))
        return f"the prompt has {len(ids)} tokens; the model's own code takes {self.room}, which leaves out {lost!r}"

    @property
    def room(self) -> int:
        """Tokens of a prompt beside the start and end tokens."""
        return self.max_length - 2

    def _pieces(self, prompt: str, weights: bool) -> list[list[Token]]:
        with told_of("the tokenizer", "cannot read the prompt"):
            return [
                [(i, weight) for i in self.tokenizer(text, add_special_tokens=False).input_ids]
                for text, weight in (self._weighed(whole_text(prompt)) if weights else [(whole_text(prompt), 1.0)])
            ]

    def _weighed(self, prompt: str) -> list[tuple[str, float]]:
        """Pieces of a prompt and their weights."""
        return parse_weights(prompt)

    def _parts(self, prompt: str, weights: bool, chunks: bool) -> list[list[Token]]:
        """Tokens and weights of a prompt, in chunks that fit the encoder."""
        pieces = self._pieces(prompt, weights)
        if chunks:
            return chunked(pieces, self.room)
        return [[token for piece in pieces for token in piece][: self.room]]

    def rows_of(self, prompt: str, weights: bool = False, chunks: bool = False) -> list[tuple[int, int]]:
        """(id, row of `encode`'s hidden) of every token of a prompt that is encoded so, start and end left out."""
        return [
            (token, part * self.max_length + self._first(len(tokens)) + place)
            for part, tokens in enumerate(self._parts(prompt, weights, chunks))
            for place, (token, _) in enumerate(tokens)
        ]

    def spellings(self, words: Sequence[str]) -> list[list[list[int]]]:
        """Ids of each of some words that follow each other in a prompt, in every way that they may be written there."""
        return [[[token for token, _ in self._parts(word, False, False)[0]] for word in words]]

    def _first(self, count: int) -> int:
        """Row of the first of `count` tokens."""
        return 1

    def _framed(self, ids: list[int]) -> list[int]:
        """Start, the ids, end, and padding up to max_length."""
        words = self.tokenizer
        padding = [words.pad_token_id] * (self.max_length - 2 - len(ids))
        return [words.bos_token_id, *ids, words.eos_token_id, *padding]

    def _weighted(self, hidden: Tensor, rows: list[list[Token]]) -> Tensor:
        """[R + 1, L, D], the last row that of the empty prompt -> [R, L, D]."""
        scale = torch.ones(len(rows), self.max_length, 1)
        for row, tokens in enumerate(rows):
            first = self._first(len(tokens))
            scale[row, first : first + len(tokens), 0] = torch.tensor([weight for _, weight in tokens])
        scale = scale.to(hidden)
        states, empty = hidden[:-1], hidden[-1:]
        return torch.where(scale == 1, states, empty + (states - empty) * scale)
