"""MMaDA (arXiv 2505.15809): LLaDA over words and codes of square pictures."""

from dataclasses import dataclass

from ...conditioning.prompt_ids import Form, Framed
from ...registry import BACKBONES
from .llada import LLaDAConfig, LLaDATransformer
from .sequence import SquareBackbone, check_square
from .vocabulary import Words

# Its own tokens take the places of some that the tokenizer of LLaDA has to spare.
MARKS = {"picture": "<|reserved_token_0|>", "picture_end": "<|reserved_token_1|>", "task": "<|reserved_token_4|>"}


@dataclass(frozen=True)
class MMaDAConfig(LLaDAConfig):
    """num_vq_tokens: cells of the pictures that it was trained with, where a config says it."""

    num_vq_tokens: int = 1024

    def __post_init__(self):
        super().__post_init__()
        check_square(self.num_vq_tokens)


@BACKBONES.register("mmada")
class MMaDA(SquareBackbone, LLaDATransformer):
    """Sequence: prompt, picture, cells, picture end. Codes begin behind the tokenizer's ids; behind the codes the
    embedding has rows that nothing uses."""

    architecture = "MMadaModelLM"
    config_class = MMaDAConfig
    longest_prompt = 510

    @classmethod
    def told(cls, words: Words, rows: int) -> dict:
        return {"marks": {name: words[text] for name, text in MARKS.items()}}

    @property
    def published_settings(self) -> dict:
        """Of the repository's README, whose guidance counts from 0: its 3.5 is a weight of 4.5."""
        return self.sampled(steps=15, cfg=4.5)

    @property
    def prompt_form(self) -> Form:
        return Framed(self.config.marks["task"])

    @property
    def around(self) -> tuple[int, int]:
        return self.config.marks["picture"], self.config.marks["picture_end"]
