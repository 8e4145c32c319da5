"""Gemma 2 as EditMGT reads instructions with it: states of its last layer but one, beside the pooled output of CLIP."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..loading.building import like, told_of
from ..loading.published import Published
from ..registry import LANGUAGE_ENCODERS
from ..types import Condition
from .text import SavedText, TextEncoder

Shapes = dict[str, tuple[int, ...]]

LENGTH = 256  # tokens of a prompt with its start, as published
PREFIX = "model."  # of names in a Gemma2ForCausalLM, beside which there is the head
TOKENS = "embed_tokens.weight"
FOUR_NORMS = "layers.0.pre_feedforward_layernorm.weight"  # a layer of Gemma 1 has two
QK_NORM = "layers.0.self_attn.q_norm.weight"  # which Gemma 3 has
LEFT_OUT = ("norm.", "lm_head.")  # what stands after the last layer
NO_TOKENS = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}  # of a vocabulary of one
# What its config says that the network goes by, and what kind of value each is.
EXAMPLES = {
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"), 1),
    **dict.fromkeys(("num_key_value_heads", "head_dim", "max_position_embeddings", "sliding_window"), 1),
    **dict.fromkeys(("query_pre_attn_scalar", "rms_norm_eps", "rope_theta", "initializer_range"), 1.0),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), 1.0),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    **{"attention_bias": False, "hidden_activation": "gelu_pytorch_tanh"},
}


@LANGUAGE_ENCODERS.register("gemma2")
class GemmaFiles(Published):
    """transformers' Gemma2Model, whose states after all layers but the last are wanted."""

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        names = {GemmaFiles.renamed(name) for name in shapes}
        return {TOKENS, FOUR_NORMS} <= names and QK_NORM not in names

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return None

    @staticmethod
    def leaves(name: str) -> bool:
        return GemmaFiles.renamed(name).startswith(LEFT_OUT)

    @staticmethod
    def renamed(name: str) -> str:
        return name.removeprefix(PREFIX)

    @staticmethod
    def configure(config: dict, where: Any) -> Any:
        """A Gemma2Config. Raises MGTError where it cannot be read."""
        from transformers import Gemma2Config

        rotary = config.get("rope_parameters")  # where transformers 5 writes it
        values = {**(rotary if isinstance(rotary, dict) else {}), **config}
        with told_of(where, "does not describe a Gemma 2 model"):
            # Its scores are capped softly, which the other implementations of attention leave out.
            return Gemma2Config(**like(EXAMPLES, values), attn_implementation="eager", use_cache=False)


def states_alone(config: Any) -> nn.Module:
    """A Gemma2Model of all layers but the last, which gives the states behind them as they are."""
    from transformers import Gemma2Model

    network = Gemma2Model(with_layers(config, config.num_hidden_layers - 1))
    network.norm = nn.Identity()
    network.config = config  # as it is saved
    return network


def with_layers(config: Any, count: int, **others: Any) -> Any:
    """A config of so many layers, whose kinds take turns from the first."""
    values = {**config.to_dict(), "num_hidden_layers": count, "layer_types": None, **others}
    return type(config)(**values, attn_implementation="eager")


def constants_of(config: Any) -> dict[str, Tensor]:
    """What its buffers hold, which no file has, by their names: those of a model of next to nothing."""
    from transformers import Gemma2Model

    with torch.device("cpu"):
        small = Gemma2Model(with_layers(config, 1, vocab_size=1, intermediate_size=1, **NO_TOKENS))
    return {name.split(".")[-1]: value for name, value in small.named_buffers()}


class TwoEncoders(nn.Module):
    """Both networks in one, to be placed, packed and saved together."""

    def __init__(self, clip: nn.Module, language: nn.Module):
        super().__init__()
        self.clip, self.language = clip, language


class Pooling(TextEncoder):
    """What makes pooled alone: what it cuts off is read by the other network."""

    def length_note(self, prompt: str, weights: bool = False) -> None:
        return None


@dataclass(frozen=True)
class InstructionEncoder(TextEncoder):
    """CLIP, whose projected state of the end token is pooled, and Gemma 2, whose hidden_states[-2] are hidden.

    network: TwoEncoders. tokenizer: of Gemma 2, whose prompts are filled up on the left; what fills them up takes part
    like words, as published. clip_tokenizer, clip_length: tokenizer and max_length of CLIP. checkpoint: of CLIP.
    """

    clip_tokenizer: Any = None
    clip_length: int = 0

    @property
    def pooling(self) -> Pooling:
        return Pooling(self.network.clip, self.clip_tokenizer, self.clip_length, self.placement, self.checkpoint)

    @torch.inference_mode()
    def encode(
        self,
        prompts: str | Sequence[str],
        size: tuple[int, int] | None = None,
        weights: bool = False,
        chunks: bool = False,
    ) -> Condition:
        """As `TextEncoder.encode`, hidden [B, L, D] of Gemma 2 (L a multiple of 256) and pooled [B, P] of CLIP."""
        condition = super().encode(prompts, size, weights, chunks)
        return replace(condition, pooled=self.pooling.encode(prompts, None, weights, chunks).pooled)

    @property
    def room(self) -> int:
        return self.max_length - 1

    @property
    def widths(self) -> dict[str, int]:
        return {"hidden": self.network.language.config.hidden_size, "pooled": self.pooling.widths["pooled"]}

    @property
    def saved(self) -> tuple[SavedText, ...]:
        return *self.pooling.saved, SavedText("llm_encoder", self.network.language, self.tokenizer, "llm_encoder")

    def _weighed(self, prompt: str) -> list[tuple[str, float]]:
        """A blank belongs to the word behind it."""
        pieces, blank = [], ""
        for text, weight in super()._weighed(prompt):
            kept = text.rstrip(" ")
            pieces.append((blank + kept, weight))
            blank = text[len(kept) :]
        return [*pieces, (blank, 1.0)]

    def spellings(self, words: Sequence[str]) -> list[list[list[int]]]:
        """A word at the very start of a prompt has other ids than one behind a blank."""
        behind, first = ([self._ids(before + word) for word in words] for before in (" ", ""))
        return [behind, [*first[:1], *behind[1:]]]

    def _ids(self, text: str) -> list[int]:
        return [token for token, _ in self._parts(text, False, False)[0]]

    def _states(self, ids: Tensor) -> tuple[Tensor, ...]:
        language = self.network.language
        states = language(ids, use_cache=False).last_hidden_state
        self._check_finite(language, ids, states)
        return (states,)

    def _first(self, count: int) -> int:
        return self.max_length - count

    def _framed(self, ids: list[int]) -> list[int]:
        """Padding up to max_length, start and the ids."""
        words = self.tokenizer
        return [words.pad_token_id] * (self.room - len(ids)) + [words.bos_token_id, *ids]
