"""A reward without weights for prompts of two objects: three colours, and where they are to be."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mgt_core.rewards.base import Reward
from recipe.data.scenes import HALF, Scene
from recipe.judge.pictures import render


@dataclass(frozen=True)
class RegionColours(Reward):
    """Less the mean distance in sRGB between the mean colours of some regions and those that are wanted there.

    masks: [P, R, H, W] bool, regions of the pictures of P prompts. colours: [P, R, 3]. Which object stands in a region
    it does not see: two of one mean colour are alike to it."""

    masks: Tensor = field(repr=False, compare=False)
    colours: Tensor = field(repr=False, compare=False)

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        masks = self.masks[list(images)].to(pictures)
        return -(means(pictures, masks) - self.colours[list(images)].to(pictures)).norm(dim=-1).mean(1)


def means(pictures: Tensor, masks: Tensor) -> Tensor:
    """[n, R, 3] of pictures [n, H, W, 3] in regions [n, R, H, W]."""
    return torch.einsum("nrhw,nhwc->nrc", masks, pictures) / masks.sum((2, 3))[..., None]


def of_layouts(scenes: Sequence[Scene]) -> RegionColours:
    """What someone could say of the pictures asked for without a drawing of them: the mean colour of each of the two
    squares that the objects stand in, and that of the rest."""
    real = torch.from_numpy(np.asarray(render(list(scenes))))
    masks = torch.zeros(len(scenes), 3, *real.shape[1:3])
    for row, scene in enumerate(scenes):
        for place, item in enumerate(scene.items):
            masks[row, place, item.top : item.top + HALF, item.left : item.left + HALF] = 1
        masks[row, 2] = 1 - masks[row, :2].sum(0)
    return RegionColours(masks, means(real, masks))
