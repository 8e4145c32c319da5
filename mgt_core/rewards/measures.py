"""Simple numbers of a picture."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import checked_mask
from .foreground import mask_on

LUMA = (0.2126, 0.7152, 0.0722)  # of ITU-R BT.709


class Measures(NamedTuple):
    """brightness: mean luma of BT.709, of values as they are stored, 0 to 1. contrast: its standard deviation, up to
    0.5. saturation: mean difference between the largest and the smallest of red, green and blue, 0 to 1. sharpness:
    root mean square of the luma's Laplacian, four times a pixel less its neighbours; 0 for one colour, some 0.05 for a
    photograph, 4 for a chessboard of pixels."""

    brightness: float
    contrast: float
    saturation: float
    sharpness: float


def measures(pictures: Tensor, mask: Tensor | None = None) -> Measures:
    """Means over pictures [n, H, W, 3] in 0..1. mask [m, h, w]: shares in which pixels count, one for all pictures or
    one for each. All are 0 where nothing counts. Raises MGTError for what is no mask."""
    pictures = pictures[..., :3].float()
    size = tuple(pictures.shape[1:3])
    held = checked_mask(mask)
    weights = torch.ones(1, *size) if held is None else mask_on(held, size)
    weights = weights.to(pictures.device).expand(len(pictures), *size)
    weights = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-6)
    luma = pictures @ pictures.new_tensor(LUMA)
    kernel = luma.new_tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    edges = F.conv2d(F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate"), kernel)[:, 0]

    def mean(values: Tensor) -> Tensor:
        return (values * weights).sum((1, 2))

    brightness = mean(luma)
    spread = mean((luma - brightness[:, None, None]) ** 2).sqrt()
    chroma = mean(pictures.amax(-1) - pictures.amin(-1))
    return Measures(*torch.stack([brightness, spread, chroma, mean(edges**2).sqrt()]).mean(1).tolist())
