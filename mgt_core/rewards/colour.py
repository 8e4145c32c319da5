"""Whether a picture has a wanted colour, without any weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import ImageColor
from torch import Tensor

from ..errors import MGTError
from ..plain import members
from ..registry import REWARDS
from ..settings import choice, hold, share
from .base import Reward, checked_mask, places_of
from .foreground import cell_side, foreground, mask_on
from .oklab import oklab

WHERE = ("everywhere", "background", "object")


def colour_of(value: object) -> tuple[float, float, float]:
    """sRGB in 0..1 of a text as CSS has it ("#ff0000", "red", "rgb(255, 0, 0)"), or of three such numbers. Raises
    MGTError for anything else."""
    expected = "a colour as red, #ff0000 or rgb(255, 0, 0), or three numbers from 0 to 1"
    if isinstance(value, str):
        try:
            numbers = tuple(level / 255 for level in ImageColor.getrgb(value.strip())[:3])
        except ValueError:
            raise MGTError(f"colour is {value!r}; expected {expected}") from None
    else:
        numbers = members(value)
    fits = numbers is not None and len(numbers) == 3 and all(isinstance(each, (int, float)) for each in numbers)
    if not fits or not all(0 <= each <= 1 for each in numbers):
        raise MGTError(f"colour is {value!r}; expected {expected}")
    return tuple(map(float, numbers))


@REWARDS.register("colour")
@dataclass(frozen=True)
class ColourAgreement(Reward):
    """1 less the mean difference in Oklab from a wanted colour: 1 where all that is looked at has that colour, 0 where
    it is as far as black from white, or where there is nothing to look at.

    colour: as `colour_of` takes it. where: all of the picture, its background, or what stands before that
    (foreground.py). mask [m, h, w]: shares in which places count, one for all images of a batch or one for each.
    lightness: how much of a difference in lightness counts, beside that of hue and saturation.
    """

    colour: str | tuple[float, float, float] = "red"
    where: str = choice("everywhere", WHERE)
    lightness: float = share(1.0)
    mask: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        hold(self, colour=colour_of(self.colour), mask=checked_mask(self.mask))
        super().__post_init__()

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        difference = oklab(pictures) - oklab(pictures.new_tensor(self.colour, dtype=torch.float32))
        difference = difference * difference.new_tensor([self.lightness, 1.0, 1.0])
        weights = self.weights(pictures, images).to(difference.device)
        total = weights.sum((1, 2))
        missed = (difference.norm(dim=-1) * weights).sum((1, 2)) / total.clamp_min(1e-6)
        return torch.where(total > 0, 1 - missed, 0.0)

    def weights(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        """How much each pixel counts [n, H, W]."""
        size = tuple(pictures.shape[1:3])
        weights = torch.ones(len(pictures), *size)
        if self.mask is not None:
            weights = mask_on(self.mask, size)[places_of("masks", len(self.mask), images)]
        if self.where == "everywhere":
            return weights
        stands, side = foreground(pictures).float(), cell_side(pictures)
        stands = stands.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, : size[0], : size[1]]
        return weights.to(stands.device) * (stands if self.where == "object" else 1 - stands)
