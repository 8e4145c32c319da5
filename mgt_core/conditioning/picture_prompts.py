"""Prompts that hold pictures: editing by a language model that reads the codes of pictures as it does words.

Lumina-DiMOO (arXiv 2510.06308, inference_i2i.py as released): the picture stands in the prompt before its last id, and
two guidances push away from two prompts that each lack one thing,

    L = c + s (c - u_text) + s_i (c - u_picture)

u_text with the picture and no words, u_picture with the words and no picture. That is guidance 1 + s + s_i away from
the mean of both, weighted s and s_i (parts.py), so that every sampler edits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..codecs.base import Codec
from ..errors import MGTError, finite_number, lookup, whole_number
from ..shares import checked_shares
from ..types import PICTURES, Condition, check_makes
from .parts import ConditionPart, Conditions
from .prompt_ids import PromptEncoder, prompts_of
from .text import TextEncoder

SIDE = 32  # pixels that both sides of a picture are a multiple of, as in training
FLATTEST = 4.0  # the longer side, in shorter ones
LARGEST = 4096
LARGEST_GUIDANCE = 400.0


@dataclass(frozen=True)
class PicturePrompts:
    """What a run takes. size: (height, width) in pixels of the first picture, as the model sees it."""

    positive: Condition
    negative: Conditions
    cfg: float
    size: tuple[int, int]


def picture_prompts(
    encoder: TextEncoder,
    codec: Codec,
    image: Tensor,
    instruction: str = "",
    task: str = "edit",
    second: Tensor | None = None,
    text_guidance: float = 2.5,
    picture_guidance: float = 4.0,
    resolution: int = 512,
) -> PicturePrompts:
    """Conditions for a picture that is made from pictures [B, H, W, 3] and an instruction.

    task: one of those that the model was trained for (`encoder.pictures.tasks`), which say what becomes of the
    instruction. second: for a task of two pictures, as many as the first or one. text_guidance, picture_guidance: s and
    s_i, as published. resolution: pictures are cropped to the trained size of about so many pixels squared that is
    nearest to their shape; 0 leaves them as they are. The released script makes a picture of the size of the second
    one; here `size` is that of the first, which is changed.

    Raises MGTError for an encoder or codec of another model, and for pictures that do not go with the task.
    """
    form = encoder.pictures if isinstance(encoder, PromptEncoder) else None
    if form is None:
        raise MGTError("the text encoder reads words alone; a prompt with pictures needs that of Lumina-DiMOO")
    check_makes(PICTURES, "a prompt with pictures", codec=codec)
    codec.check_codes(form.codes, "this text encoder reads")
    own = lookup("task", task, form.tasks)
    s = finite_number("text_guidance", text_guidance, 0, LARGEST_GUIDANCE)
    s_i = finite_number("picture_guidance", picture_guidance, 0, LARGEST_GUIDANCE)
    if own.takes_text and not instruction.strip():
        raise MGTError(f"the instruction is empty, and the task {task!r} needs one")
    if (second is None) == (own.pictures == 2):
        takes = "two pictures" if own.pictures == 2 else "one picture"
        raise MGTError(f"the task {task!r} takes {takes}; {'a second one' if second is not None else 'one'} was given")
    given = [fitted(each, resolution) for each in (image, second) if each is not None]
    count = max(map(len, given))
    if any(len(each) not in (1, count) for each in given):
        raise MGTError(f"there are {len(given[1])} second pictures for {len(given[0])}; give 1 or {len(given[0])}")
    codes = [codec.encode(each).expand(count, -1, -1).tolist() for each in given]
    pictures = [[i for grid in grids for i in form.ids(grid)] for grids in zip(*codes, strict=True)]
    words, none = (encoder.tokens(text) for text in form.texts(own, encoder.cut(instruction)))
    without_words, without_picture = with_pictures(none, pictures), prompts_of([words] * count)
    parts = [ConditionPart(c, w) for c, w in ((without_words, s), (without_picture, s_i)) if w]
    return PicturePrompts(
        with_pictures(words, pictures),
        Conditions(tuple(parts) or (ConditionPart(without_words),)),
        1 + s + s_i,
        tuple(given[0].shape[1:3]),
    )


def with_pictures(prompt: Sequence[int], pictures: Sequence[Sequence[int]]) -> Condition:
    """The prompt with pictures of its own for every image, before its last id."""
    return prompts_of([[*prompt[:-1], *own, *prompt[-1:]] for own in pictures])


def crop_sizes(resolution: int, side: int = SIDE, flattest: float = FLATTEST) -> list[tuple[int, int]]:
    """(width, height) in pixels of the pictures of training: sides of whole squares, as many as fit into the area, from
    the widest to the tallest."""
    squares = (resolution // side) ** 2
    sizes, wide, high = [], squares, 1
    while wide > 0:
        if max(wide, high) <= flattest * min(wide, high):
            sizes.append((wide * side, high * side))
        wide, high = (wide, high + 1) if (high + 1) * wide <= squares else (wide - 1, high)
    return sizes


def fitted(image: Tensor, resolution: int) -> Tensor:
    """[B, H, W, 3] scaled and cropped about its middle to the nearest size of training; 0 leaves it as it is."""
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] < 3 or not image.numel():
        held = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise MGTError(f"image is {held}; expected pictures of shape [batch, height, width, 3]")
    image = checked_shares("image", image[..., :3]).float()
    if not whole_number("resolution", resolution, 0, LARGEST):
        return image
    if resolution < SIDE:
        raise MGTError(f"resolution is {resolution}; accepted are 0, and {SIDE} to {LARGEST}")
    height, width = image.shape[1:3]

    def kept(size: tuple[int, int]) -> float:
        across, down = size[0] / width, size[1] / height
        return min(across, down) / max(across, down)

    # Of sizes that fit as well, the widest, as the released code sorts them.
    right, bottom = max(crop_sizes(resolution), key=lambda size: (kept(size), size))
    scale = max(right / width, bottom / height)
    tall, wide = max(bottom, round(height * scale)), max(right, round(width * scale))
    scaled = F.interpolate(image.movedim(-1, 1), (tall, wide), mode="bicubic", antialias=True, align_corners=False)
    top, left = (tall - bottom) // 2, (wide - right) // 2
    return scaled[..., top : top + bottom, left : left + right].movedim(1, -1).clamp(0, 1).contiguous()
