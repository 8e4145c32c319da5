"""Whether what a picture shows lies where it is wanted, without any weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import MGTError
from ..registry import REWARDS
from ..settings import hold, share
from .base import Reward, checked_mask, places_of
from .foreground import SEEN, cells_of, foreground, mask_on


@REWARDS.register("mask")
@dataclass(frozen=True)
class MaskAgreement(Reward):
    """How much of a picture's foreground and of a wanted mask is common to both (intersection over union): from 0 for
    none to 1 for the same places. A mask between black and white counts by its shares, Σ min / Σ max.

    mask [m, h, w]: where something is to be, one for all images of a batch or one for each. contrast: difference of
    colour from the background, in Oklab, below which nothing stands out of it (foreground.py).
    """

    mask: Tensor = field(default=None, repr=False, compare=False)
    contrast: float = share(SEEN, step=0.01)

    def __post_init__(self):
        if self.mask is None:
            raise MGTError("mask is missing; expected where something is to be, of shape [masks, height, width]")
        hold(self, mask=checked_mask(self.mask))
        super().__post_init__()

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        places = places_of("masks", len(self.mask), images)
        wanted = cells_of(mask_on(self.mask, tuple(pictures.shape[1:3]))[..., None])[places, ..., 0]
        wanted = wanted.to(pictures.device)
        found = foreground(pictures, wanted, self.contrast).float()
        both, either = (choose(found, wanted).sum((1, 2)) for choose in (torch.minimum, torch.maximum))
        return torch.where(either > 0, both / either.clamp_min(1e-6), 1.0)
