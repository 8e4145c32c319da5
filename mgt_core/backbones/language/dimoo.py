"""Lumina-DiMOO (arXiv 2510.06308): LLaDA over words and codes of pictures of any size."""

from collections.abc import Sequence
from pathlib import Path

from ...conditioning.prompt_ids import Form, Tokenize
from ...registry import BACKBONES
from .llada import LLaDATransformer
from .sequence import CELL
from .vocabulary import Words

ARCHITECTURE = "LLaDAForMultiModalGeneration"
# What stands around a picture, by the tokens of the published vocabulary: these end right before the codes, and their
# texts are no part of the published code, so that they are counted from there.
BEFORE_CODES = {"picture": 7, "picture_end": 6, "answer": 2, "answer_end": 1}
TEXT_TO_IMAGE = "<system>Generate an image according to the text prompt.</system><user>{}</user>"
NO_PROMPT = "<uncondition>"
ROW_END = "<|reserved_token_0|>"


def text_to_image(tokenize: Tokenize, text: str) -> list[int]:
    """Of inference_t2i.py."""
    return tokenize(TEXT_TO_IMAGE.format(text or NO_PROMPT))


@BACKBONES.register("lumina_dimoo")
class LuminaDiMOO(LLaDATransformer):
    """Sequence: prompt, answer, picture, every row of cells and a row end, picture end, answer end."""

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return LLaDATransformer.is_llada(shapes) and ARCHITECTURE in config.get("architectures", ())

    @classmethod
    def completed(cls, config: dict, shapes: dict[str, tuple[int, ...]], weights: Path) -> dict:
        """With what the tokenizer says: codes begin behind its ids, and fill what is left of the embedding."""
        if "marks" in config:
            return config  # of a bundle that this pack has saved
        words = Words.beside(weights)
        rows = shapes["wte.weight"][0]
        marks = {name: words.count - back for name, back in BEFORE_CODES.items()} | {"row_end": words[ROW_END]}
        return {
            **config,
            "embedding_size": rows,
            "code_offset": words.count,
            "codebook_size": rows - words.count,
            "marks": marks,
        }

    @property
    def published_settings(self) -> dict:
        """Of inference_t2i.py, whose guidance counts from 0: its cfg_scale 4 is a weight of 5."""
        return {
            "steps": 64,
            "cfg": 5.0,
            "temperature": (1.0, 1.0),
            "schedule": "cosine",
            "inpainting_schedule": "cosine",
        }

    @property
    def prompt_form(self) -> Form:
        return text_to_image

    @property
    def trained_grid(self) -> tuple[int, int]:
        return 64, 64

    def frame(self, grid: tuple[int, int]) -> Sequence[int]:
        height, width = grid
        at = self.config.marks
        rows = ([CELL] * width + [at["row_end"]]) * height
        return [at["answer"], at["picture"], *rows, at["picture_end"], at["answer_end"]]
