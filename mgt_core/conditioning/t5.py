"""T5 as MAGNeT reads prompts with it (arXiv 2401.04577): its last states, with nothing cut off or filled up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..loading.building import like, told_of
from ..loading.published import Published
from ..placement import Resident
from ..plain import whole_text
from ..registry import TEXT_ENCODERS
from ..types import Condition
from .text import SavedText, TextEncoder, texts_of

Shapes = dict[str, tuple[int, ...]]

FOLDER = "text_encoder"  # of a bundle, with its tokenizer in it, as T5's repositories have both in one place
LONGEST = 2048  # tokens of a prompt, four times what T5 was trained with; attention grows with their square
PREFIX = "encoder."  # of names in a whole T5, beside which there is a decoder
TOKENS = "encoder.embed_tokens.weight"
SHARED = "shared.weight"  # what whole models call it, whose decoder has the same
INSIDE = "encoder.block.0.layer.0.SelfAttention.q.weight"
LEFT_OUT = ("decoder.", "lm_head.")
OFFSETS = {"return_offsets_mapping": True, "return_attention_mask": False}
# What its config says that the network goes by, and what kind of value each is.
EXAMPLES = {
    **dict.fromkeys(("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"), 1),
    **dict.fromkeys(("relative_attention_num_buckets", "relative_attention_max_distance"), 1),
    **{"layer_norm_epsilon": 1.0, "feed_forward_proj": "relu"},
}


@TEXT_ENCODERS.register("t5")
class T5Text(Published):
    """transformers' T5EncoderModel: alone, or within a whole T5ForConditionalGeneration."""

    has_words: ClassVar[bool] = True

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        if config.get("model_type") != "t5":  # nothing else tells how many heads there are
            return False
        return {TOKENS, INSIDE} <= {T5Text.renamed(name) for name in shapes}

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return None

    @staticmethod
    def leaves(name: str) -> bool:
        return name.startswith(LEFT_OUT)

    @staticmethod
    def renamed(name: str) -> str:
        return TOKENS if name == SHARED else name

    @staticmethod
    def configure(config: dict, where: Any) -> Any:
        """A T5Config of the encoder. Raises MGTError where it cannot be read."""
        from transformers import T5Config

        with told_of(where, "does not describe a T5 text encoder"):
            return T5Config(**like(EXAMPLES, config), dropout_rate=0.0, is_encoder_decoder=False, use_cache=False)


def encoder_alone(config: Any) -> nn.Module:
    """A T5EncoderModel that has its embedding once."""
    from transformers import T5EncoderModel

    network = T5EncoderModel(config)
    network.encoder.embed_tokens = network.shared
    del network.shared
    return network


def visible_rows(hidden: Tensor) -> Tensor:
    """[B, L] bool: the rows [B, L, D] that hold a word. Of a prompt without any, whose zeros change nothing, all."""
    words = (hidden != 0).any(-1)
    return words | ~words.any(-1, keepdim=True)


@dataclass(frozen=True)
class T5Encoder(TextEncoder):
    """T5's last states, in float32 whatever else is computed in, as its authors have it.

    Prompts of a batch are filled up to the longest with rows of zeros. These take their share of attention, so that a
    prompt depends on those beside it, as published; alone: they are left out of it, and it does not.
    max_length: of no meaning here.
    """

    alone: bool = False

    def with_alone(self, alone: bool = True) -> "T5Encoder":
        return replace(self, alone=alone)

    @torch.inference_mode()
    def encode(
        self,
        prompts: str | Sequence[str],
        size: tuple[int, int] | None = None,
        weights: bool = False,
        chunks: bool = False,
    ) -> Condition:
        """Prompts to a Condition of that batch, on the encoder's device: hidden [B, L, D], the states of their tokens
        and of an end, L that of the longest. The empty prompt is zeros alone, which is what no prompt is.

        weights: parentheses weigh words, as ComfyUI has it: their states are multiplied, since those of no prompt are
        zeros. size, chunks: of no meaning here. Raises MGTError for a prompt of more than LONGEST tokens.
        """
        rows = [self._weighed_tokens(text, weights) if text else [] for text in texts_of(prompts)]
        device = (self.placement or Resident(self.network)).acquire()
        distinct = list(dict.fromkeys(tuple(token for token, _ in row) for row in rows))
        states = self._states_of([ids for ids in distinct if ids], device)
        longest = max(1, *map(len, distinct))
        hidden = torch.zeros(len(rows), longest, self.widths["hidden"], device=device)
        for place, row in enumerate(rows):
            if row:
                scale = torch.tensor([weight for _, weight in row], device=device)
                hidden[place, : len(row)] = states[tuple(token for token, _ in row)] * scale[:, None]
        return Condition(hidden, visible=visible_rows(hidden) if self.alone else None)

    def _states_of(self, prompts: Sequence[tuple[int, ...]], device: torch.device) -> dict[tuple[int, ...], Tensor]:
        """[L, D] float32 of each, those of one length together: none is filled up."""
        found = {}
        for length in sorted(set(map(len, prompts))):
            alike = [ids for ids in prompts if len(ids) == length]
            ids = torch.tensor(alike, device=device)
            states = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            self._check_finite(self.network, ids, states)
            found |= dict(zip(alike, states.float(), strict=True))
        return found

    @property
    def widths(self) -> dict[str, int]:
        return {"hidden": self.network.config.d_model}

    @property
    def saved(self) -> tuple[SavedText, ...]:
        return (SavedText(FOLDER, self.network, self.tokenizer, FOLDER, self.checkpoint),)

    def length_note(self, prompt: str, weights: bool = False) -> None:
        """Nothing is cut."""
        return None

    def rows_of(self, prompt: str, weights: bool = False, chunks: bool = False) -> list[tuple[int, int]]:
        tokens = self._weighed_tokens(prompt, weights)[:-1]
        return [(token, row) for row, (token, _) in enumerate(tokens)]

    def spellings(self, words: Sequence[str]) -> list[list[list[int]]]:
        return [[[token for token, _ in self._weighed_tokens(word, False)[:-1]] for word in words]]

    def _weighed_tokens(self, prompt: str, weights: bool) -> list[tuple[int, float]]:
        """Ids and weights of a prompt and of its end. It is read whole, since the first letters of a piece alone would
        be those of a word; a token has the weight of its last letter."""
        pieces = [(text, weight) for text, weight in (self._weighed(prompt) if weights else [(prompt, 1.0)])]
        pieces = [(whole_text(text), weight) for text, weight in pieces]
        letters = [weight for text, weight in pieces for _ in text]
        with told_of("the tokenizer", "cannot read the prompt"):
            read = self.tokenizer("".join(text for text, _ in pieces), add_special_tokens=False, **OFFSETS)
        if len(read.input_ids) >= LONGEST:
            raise MGTError(f"the prompt has {len(read.input_ids)} tokens; accepted are up to {LONGEST - 1}")
        ends = [end for _, end in read.offset_mapping]
        tokens = [(token, letters[end - 1] if end else 1.0) for token, end in zip(read.input_ids, ends, strict=True)]
        return [*tokens, (self.tokenizer.eos_token_id, 1.0)]
