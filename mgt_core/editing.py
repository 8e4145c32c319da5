"""Editing of given pictures: which of their tokens a run fills again, and what is kept of their pixels.

After Meissonic's pipelines (arXiv 2410.08261), except where they go astray: strength 1 starts from all
masked, a cell is free if any of its pixels is, and every image has a count and a schedule of its own.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .codecs.base import Codec
from .errors import MGTError, finite_number, several, whole_number
from .model import LONGEST_SIDE, MGTModel
from .pixels import is_side, told_nearest
from .placement import sent
from .plain import plain_whole
from .sampling.draws import image_seeds, seeded_generator
from .sampling.step import least_confident
from .shares import checked_shares
from .types import PICTURES, SOUND, TokenState, check_count, check_makes

MOST_CELLS = 1024  # grown or redrawn, far more than any grid has


def encode_image(model: MGTModel, codec: Codec, image: Tensor, strength: float = 1.0, tile_size: int = 0) -> TokenState:
    """Tokens of pictures [B, H, W, 3] (further channels are left out), for a run that repaints them.

    strength: share of the run that is done, as TokenState.strength has it. tile_size: see Codec.encode. What filters
    leave beside 0..1 is cut off (see shares.py). Raises MGTError for other values, and for sizes that the model cannot
    hold.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] < 3:
        held = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise MGTError(f"image is {held}; expected pictures of shape [batch, height, width, 3]")
    check_makes(PICTURES, "encoding a picture", model=model, codec=codec)
    codec.check_codes(model.codebook_size, "this model has")
    height, width = image.shape[1:3]
    if (good := model.good_size(height, width)) != (height, width):
        takes = "makes no other" if model.only_size else f"takes sides that are multiples of {model.side_unit}"
        raise MGTError(
            f"the image is {width} x {height} pixels; this model {takes}: scale it to {good[1]} x {good[0]} first"
        )
    tokens = codec.encode(checked_shares("image", image[..., :3]), tile_size).to(image.device)
    fixed = torch.zeros_like(tokens, dtype=torch.bool)
    return TokenState(tokens, fixed, model.mask_id, model.codebook_size, strength=strength)


def stretched(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures [B, H, W, C] of another size (height, width) in pixels, whatever their proportions: how EditMGT takes
    pictures, and gives them back. Values stay within 0..1."""
    image = checked_shares("image", image)
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    moved = F.interpolate(image.movedim(-1, 1).float(), tuple(size), mode="bicubic", antialias=True)
    return moved.movedim(1, -1).clamp(0, 1).contiguous()


def free_cells(mask: Tensor, grid: tuple[int, int], grow: int = 0) -> Tensor:
    """[B, h, w] bool: cells of which any pixel of `mask` [B, H, W] (or [H, W]) is above 0.

    The mask may be of any size; it is laid over the whole picture. grow: cells by which the free area
    is extended on every side.
    """
    grow = whole_number("grow", grow, 0, MOST_CELLS)
    free = F.adaptive_max_pool2d(as_masks(mask)[:, None], grid)
    if grow:
        grow = min(grow, max(grid))
        free = F.max_pool2d(free, (2 * grow + 1, 1), stride=1, padding=(grow, 0))
        free = F.max_pool2d(free, (1, 2 * grow + 1), stride=1, padding=(0, grow))
    return free[:, 0] > 0


def as_masks(mask: Tensor) -> Tensor:
    """[H, W] or [B, H, W] in 0..1, of any type of numbers -> [B, H, W] float32. Raises MGTError for anything else; see
    shares.py for what is taken as 0 and 1."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        held = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise MGTError(f"mask is {held}; expected a mask of shape [batch, height, width]")
    return checked_shares("mask", mask.reshape(-1, *mask.shape[-2:])).float()


def mask_tokens(state: TokenState, mask: Tensor, grow: int = 0) -> TokenState:
    """Inpainting: the cells that `mask` frees are filled again, all others are fixed, whatever was before.

    mask: one, or one an image; see free_cells. A state that carries a strength below 1 keeps its tokens
    in the free cells, of which the run then repaints that share.
    """
    check_makes(PICTURES, "a mask", tokens=state)
    free = of_batch(free_cells(mask, state.grid, grow).to(state.tokens.device), state.batch, "mask")
    fixed = ~free & ~state.masked
    if state.strength is not None and state.strength < 1:
        return replace(state, fixed=fixed)
    return replace(state, tokens=state.tokens.masked_fill(free, state.mask_id), fixed=fixed, strength=None)


def of_batch(values: Tensor, batch: int, name: str) -> Tensor:
    """One value repeated for `batch` images, or `batch` as they are; MGTError for any other count."""
    if values.shape[0] not in (1, batch):
        accepted = "1" if batch == 1 else f"1 or {batch}"
        images = "1 image" if batch == 1 else f"{batch} images"
        raise MGTError(f"there are {values.shape[0]} of {name} for {images}; give {accepted}")
    return values.expand(batch, *values.shape[1:])


Sides = tuple[int, int, int, int]


def padding_cells(model: MGTModel, sides: Sides) -> Sides:
    """(left, top, right, bottom) in pixels -> in tokens.

    Raises MGTError for a side that is no multiple of the model's unit.
    """
    check_makes(PICTURES, "outpainting", model=model)
    unit = model.side_unit
    sides = [plain_whole(side) for side in several("sides", sides, "four numbers, left, top, right and bottom", 4)]
    for name, side in zip(("left", "top", "right", "bottom"), sides, strict=True):
        if not is_side(side, unit, 0, LONGEST_SIDE):
            near = told_nearest(side, unit, 0, LONGEST_SIDE)
            raise MGTError(f"{name} is {side!r} pixels; this model takes multiples of {unit}, or 0{near}")
    left, top, right, bottom = (side // model.pixels_per_token for side in sides)
    return left, top, right, bottom


def pad_tokens(model: MGTModel, state: TokenState, sides: Sides, redraw: int = 0) -> TokenState:
    """Outpainting: masked cells on each side, what was there is fixed.

    sides: (left, top, right, bottom) in pixels. redraw: cells of the old picture beside a padded side
    that are masked too, so that the seam is drawn anew.
    """
    check_makes(PICTURES, "outpainting", tokens=state)
    redraw = whole_number("redraw", redraw, 0, MOST_CELLS)
    left, top, right, bottom = padding_cells(model, sides)
    height, width = state.grid
    unit = model.pixels_per_token
    check_count(state.batch, *model.grid_for((top + height + bottom) * unit, (left + width + right) * unit))
    kept = torch.ones_like(state.fixed)
    for dim, before, after in ((2, left, right), (1, top, bottom)):
        kept.narrow(dim, 0, min(redraw if before else 0, kept.shape[dim])).fill_(False)
        last = min(redraw if after else 0, kept.shape[dim])
        kept.narrow(dim, kept.shape[dim] - last, last).fill_(False)
    tokens = state.tokens.masked_fill(~kept, state.mask_id)
    tokens = F.pad(tokens, (left, right, top, bottom), value=state.mask_id)
    return TokenState(tokens, tokens != state.mask_id, state.mask_id, state.codebook_size)


def pad_image(
    model: MGTModel, state: TokenState, image: Tensor, padded: TokenState, sides: Sides
) -> tuple[Tensor, Tensor]:
    """The picture behind `state` at the size of `padded`, its border pixels repeated, and the mask of what
    is to be drawn there: [B, H, W, C], [B, H, W] float.

    Raises MGTError when the picture is not of the size that the tokens stand for.
    """
    unit = model.pixels_per_token
    size = (state.grid[0] * unit, state.grid[1] * unit)
    if tuple(image.shape[1:3]) != size:
        raise MGTError(
            f"the image is {image.shape[2]} x {image.shape[1]} pixels and its tokens stand for {size[1]} x {size[0]}"
        )
    left, top, right, bottom = (cells * unit for cells in padding_cells(model, sides))
    larger = F.pad(image.movedim(-1, 1), (left, right, top, bottom), mode="replicate").movedim(1, -1)
    mask = padded.masked.repeat_interleave(unit, 1).repeat_interleave(unit, 2)
    return larger, mask.float()


def random_order(state: TokenState, seed: int) -> Tensor:
    # Named: a run with the same seed begins with these very numbers, and would draw by those that chose its cells.
    generators = [seeded_generator(f"vary/{own}", torch.device("cpu")) for own in image_seeds(seed, state.batch)]
    rows = [torch.rand(state.grid, generator=generator, dtype=torch.float64) for generator in generators]
    # Their ranks go to the device, since not every one has float64.
    order = torch.stack(rows).flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    return sent(order.unflatten(1, state.grid).float(), state.tokens.device)


def confidence_order(state: TokenState, seed: int) -> Tensor:
    if state.confidence is None:
        raise MGTError("the tokens carry no confidence to choose by; give tokens that MGT Sample returned, or random")
    return state.confidence.float()


# Which tokens of a picture are drawn anew: those that come first in the order [B, h, w] of (state, seed).
ORDERS: dict[str, Callable[[TokenState, int], Tensor]] = {
    "random": random_order,
    "least confident": confidence_order,
}


def vary_tokens(state: TokenState, share: float, order: str = "random", seed: int = 0) -> TokenState:
    """Variations: `share` of the cells that are not fixed (rounded, per image; of sound per code book) are masked
    again.

    order: "random", decided for image i by seed + i, or "least confident", by the
    probability the tokens had when they were drawn.
    """
    share = finite_number("share", share, 0, 1)
    if order not in ORDERS:
        raise MGTError(f"order is {order!r}; accepted are {', '.join(ORDERS)}")
    depth = 1 if state.makes == SOUND else 0  # what is counted by itself
    free = (~state.fixed).flatten(0, depth).flatten(1)
    counts = (free.sum(1) * share).round().long().tolist()
    ranks = ORDERS[order](state, seed).flatten(0, depth).flatten(1)
    chosen = least_confident(ranks, free, counts).reshape(state.tokens.shape)
    return replace(state, tokens=state.tokens.masked_fill(chosen, state.mask_id), strength=None)


def paste_back(original: Tensor, repainted: Tensor, mask: Tensor, feather: int = 0) -> Tensor:
    """The repainted picture where the mask is, the original everywhere else, to the last bit.

    original: [1 or B, H, W, C]; repainted: [B, H, W, C], and the result has the channels that both have, of float32
    or more. mask: [1 or B, any size], the largest value over a pixel counts, and one between 0 and 1 mixes the two.
    feather: pixels inside the mask over which the repainted picture fades in. Raises MGTError for sizes and counts that
    do not agree, and for values that are none of pictures (see shares.py).
    """
    feather = whole_number("feather", feather, 0, MOST_CELLS)
    if original.shape[1:3] != repainted.shape[1:3]:
        sizes = [f"{image.shape[2]} x {image.shape[1]}" for image in (original, repainted)]
        raise MGTError(f"the original is {sizes[0]} pixels and the repainted picture {sizes[1]}; they must agree")
    checked_shares("original", original)
    checked_shares("repainted picture", repainted)
    batch, channels = repainted.shape[0], min(original.shape[-1], repainted.shape[-1])
    repainted = repainted[..., :channels].to(torch.promote_types(repainted.dtype, torch.float32))
    original = of_batch(original[..., :channels], batch, "original").to(repainted)
    share = F.adaptive_max_pool2d(as_masks(mask).to(repainted)[:, None], original.shape[1:3]).clamp(0, 1)
    share = (share * fade_in(share > 0, feather))[:, 0, ..., None]
    share = of_batch(share, batch, "mask")
    mixed = torch.lerp(original, repainted, share)
    return torch.where(share == 0, original, torch.where(share == 1, repainted, mixed))


def fade_in(inside: Tensor, pixels: int) -> Tensor:
    """[B, 1, H, W] bool -> float, rising over `pixels` from the border of the area to 1 deep inside it."""
    left = inside.float()
    total = left.clone()
    for _ in range(pixels):
        left = -F.max_pool2d(-left, 3, stride=1, padding=1)  # one pixel less on every side
        total += left
    return total / (pixels + 1)
