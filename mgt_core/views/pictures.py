"""Pictures about a run: maps over the image, frames of the tokens as they appear, labelled grids.

Images are [B, H, W, 3] float in 0..1, maps [B, h, w] with one value a token.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ..codecs.token_codec import TokenCodec
from ..errors import MGTError, whole_number
from ..types import TokenState
from .colours import GIVEN_COLOUR, colour_map
from .preview import previewer_of

LABEL_HEIGHT = 18
MOST_PIXELS = 2**30  # of pictures that are made together, 13 GB as IMAGE
MOST_STEPS = 100_000  # of a recorded run, as many as `sample` makes
LEGIBLE = 192  # pixels below which a picture of the grid is enlarged, so that its label fits


def heat_map(values: Tensor, valid: Tensor, image: Tensor | None, cell: int, opacity: float = 0.6) -> Tensor:
    """Colours of a map, cells of `cell` pixels, laid over an image of that size when there is one.

    values: [B, h, w] in 0..1; valid: [B, h, w] bool, the others grey; opacity: 0 shows the image only.
    """
    colours = torch.where(valid[..., None], colour_map(values), torch.tensor(GIVEN_COLOUR))
    colours = colours.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    if image is None:
        return colours
    image = image[..., :3]  # without transparency
    if image.shape != colours.shape:
        raise MGTError(
            f"the image has shape {list(image.shape)} and the tokens make {list(colours.shape)}; "
            "give the image these tokens decode to"
        )
    return torch.lerp(image.float().cpu(), colours, opacity)


def reveal_order(state: TokenState, image: Tensor | None, cell: int, opacity: float = 0.6) -> Tensor:
    """Step at which each token was fixed: dark first, yellow last, grey given. -> [B, H, W, 3].

    Raises MGTError when the tokens carry no recording.
    """
    at = recorded(state.revealed_at, "reveal order")
    last = at.amax((1, 2), keepdim=True).clamp_min(1)
    return heat_map(at / last, at >= 0, image, cell, opacity)


def confidence_map(state: TokenState, image: Tensor | None, cell: int, opacity: float = 0.6) -> Tensor:
    """Probability of each token when it was drawn: dark 0, yellow 1, grey given. -> [B, H, W, 3]."""
    probability = recorded(state.confidence, "confidence").exp()
    return heat_map(probability, recorded(state.revealed_at, "reveal order") >= 0, image, cell, opacity)


def recorded(values: Tensor | None, name: str) -> Tensor:
    if values is None:
        raise MGTError(f"the tokens carry no {name}; give the tokens that MGT Sample returns")
    return values.cpu()


def animation_frames(state: TokenState, codec: TokenCodec, index: int = 0, full: bool = True) -> Iterator[Image.Image]:
    """Image `index` of the batch before the first step and after every one, masked cells shown as such.

    A cell appears in the step since which it holds its final token. Raises MGTError for an image that
    the batch does not have, and when the tokens carry no recording.
    """
    index = whole_number("the image to animate", index, 0, state.batch - 1)
    at = recorded(state.revealed_at, "reveal order")
    tokens = state.tokens.cpu()
    previewer, last = previewer_of(codec), int(at[index].max())
    whole_number("the last step that the tokens carry", last, -1, MOST_STEPS)
    for step in range(-1, last + 1):
        shown = replace(state, tokens=tokens.masked_fill(at > step, state.mask_id), fixed=state.fixed.cpu())
        yield previewer.image(shown, full=full, index=index)


def labelled_grid(images: Sequence[Tensor], labels: Sequence[str], columns: int = 0) -> Tensor:
    """Pictures [H, W, 3] side by side, each under its label; smaller ones are enlarged as far as they
    fit the largest, and tiny ones by a whole factor so that labels can be read.

    columns: 0 puts all in one row. -> [1, H, W, 3].
    """
    if not images:
        raise MGTError("the grid has no images; connect at least one")
    width = max(image.shape[1] for image in images)
    height = max(image.shape[0] for image in images)
    factor = max(1, -(-LEGIBLE // width))
    width, height = width * factor, height * factor
    columns = min(whole_number("columns", columns, 0, 10_000) or len(images), len(images))
    rows = -(-len(images) // columns)
    check_pixels("the pictures of the grid", (width + 4, height + LABEL_HEIGHT + 4), columns * rows)
    sheet = Image.new("RGB", (columns * (width + 4) - 4, rows * (height + LABEL_HEIGHT + 4) - 4), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, image in enumerate(images):
        left, top = (place % columns) * (width + 4), (place // columns) * (height + LABEL_HEIGHT + 4)
        picture = to_pil(image)
        if picture.size != (width, height):
            picture = ImageOps.contain(picture, (width, height), Image.Resampling.NEAREST)
        space = (width - picture.width) // 2, (height - picture.height) // 2
        sheet.paste(picture, (left + space[0], top + LABEL_HEIGHT + space[1]))
        label = labels[place] if place < len(labels) else ""
        draw.text((left + 2, top + 2), shortened(label, width - 4, font), fill="black", font=font)
    return from_pil(sheet)[None]


def check_pixels(name: str, size: tuple[int, int], count: int) -> None:
    """Raises MGTError for more pixels than are worth making. size: (width, height) of each of `count` pictures."""
    if size[0] * size[1] * count > MOST_PIXELS:
        raise MGTError(
            f"{name} are {count} of {size[0]} x {size[1]} pixels; accepted are {MOST_PIXELS:,} pixels in all: give "
            "fewer or smaller ones"
        )


def shortened(text: str, width: int, font: ImageFont.ImageFont) -> str:
    """`text`, its end cut off with an ellipsis where it does not fit `width` pixels."""
    if font.getlength(text) <= width:
        return text
    fitting = bisect_right(range(len(text)), width, key=lambda last: font.getlength(text[: last + 1] + "…"))
    return text[:fitting] + "…"


def to_pil(image: Tensor) -> Image.Image:
    """[H, W, 3] float in 0..1, further channels left out -> picture."""
    return Image.fromarray((image[..., :3].detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def from_pil(picture: Image.Image) -> Tensor:
    """Picture -> [H, W, 3] float in 0..1."""
    data = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return data.reshape(picture.height, picture.width, 3).float() / 255
