"""Lumina-DiMOO (arXiv 2510.06308): LLaDA over words and codes of pictures of any size."""

from collections.abc import Sequence

from ...conditioning.picture_form import PictureForm, Task
from ...conditioning.prompt_ids import Form, Tokenize
from ...registry import BACKBONES
from .llada import LLaDATransformer
from .sequence import CELL
from .vocabulary import Words

# What stands around a picture, by the tokens of the published vocabulary: these end right before the codes, and their
# texts are no part of the published code, so that they are counted from there.
BEFORE_CODES = {"picture": 7, "picture_end": 6, "answer": 2, "answer_end": 1}
FRAME = "<system>{}</system><user>{}</user>"
TEXT_TO_IMAGE = "Generate an image according to the text prompt."
NO_PROMPT = "<uncondition>"
ROW_END = "<|reserved_token_0|>"


def dense(what: str) -> Task:
    return Task("Perform dense prediction on the given images.", f"Generate a {what} according to the image.")


# Of utils/prompt_utils.py, whose kinds of editing (add, remove, replace, background) have one sentence, and so have its
# kinds of control.
TASKS = {
    "edit": Task("Generate an image applying the following editing instruction based on the original image."),
    "control": Task("Generate an image according to the text prompt and the given control image."),
    "subject": Task("Generate an image according to the text prompt and the given object image."),
    "style": Task(
        "Transform the current image into the style of the provided image.",
        "Transform the current image into the style of the provided image.",
        pictures=2,
    ),
    "view": Task(
        "Generate a view-image based on the given image.", "Generate the {} view based on the provided front view."
    ),
    "canny": dense("canny edge map"),
    "hed": dense("hed edge map"),
    "normal": dense("normal map"),
    "sam2mask": dense("sam2 mask"),
    "depth": dense("depth map"),
    "openpose": dense("pose estimation map"),
    "free": Task("Generate an image according to the prompt and image."),
}


def text_to_image(tokenize: Tokenize, text: str) -> list[int]:
    """Of inference_t2i.py."""
    return tokenize(FRAME.format(TEXT_TO_IMAGE, text or NO_PROMPT))


@BACKBONES.register("lumina_dimoo")
class LuminaDiMOO(LLaDATransformer):
    """Sequence: prompt, answer, picture, every row of cells and a row end, picture end, answer end."""

    architecture = "LLaDAForMultiModalGeneration"

    @classmethod
    def told(cls, words: Words, rows: int) -> dict:
        """Codes fill what words leave of the embedding."""
        marks = {name: words.count - back for name, back in BEFORE_CODES.items()} | {"row_end": words[ROW_END]}
        return {"codebook_size": rows - words.count, "marks": marks}

    @property
    def published_settings(self) -> dict:
        """Of inference_t2i.py, whose guidance counts from 0, so that its cfg_scale 4 is a weight of 5, and whose one
        temperature acts in the draw and in the confidence."""
        return {
            "steps": 64,
            "cfg": 5.0,
            "temperature": (1.0, 1.0),
            "draw_temperature": "same",
            "schedule": "cosine",
            "inpainting_schedule": "cosine",
        }

    @property
    def prompt_form(self) -> Form:
        return text_to_image

    @property
    def picture_form(self) -> PictureForm:
        at, own = self.config.marks, (self.code_offset, self.codebook_size)
        return PictureForm(TASKS, FRAME, NO_PROMPT, *own, at["picture"], at["row_end"], at["picture_end"])

    @property
    def trained_grid(self) -> tuple[int, int]:
        return 64, 64

    def is_trained_grid(self, grid: tuple[int, int]) -> bool:
        """Any shape up to 4 to 1. Areas are those of training, about 512 to 1024 pixels squared, of which not all is
        used where it is flat, and of the published examples, 1536 x 768."""
        return max(grid) <= 4 * min(grid) and 32 * 32 * 3 / 4 <= grid[0] * grid[1] <= 48 * 96

    def frame(self, grid: tuple[int, int]) -> Sequence[int]:
        height, width = grid
        at = self.config.marks
        rows = ([CELL] * width + [at["row_end"]]) * height
        return [at["answer"], at["picture"], *rows, at["picture_end"], at["answer_end"]]
