"""Colours of values, and of cells that hold none."""

import torch
from torch import Tensor

# Viridis (CC0) at seven points: dark is low, yellow is high, readable in grey and by the colour-blind.
VIRIDIS = ((68, 1, 84), (68, 58, 131), (49, 104, 142), (33, 145, 140), (53, 183, 121), (144, 215, 67), (253, 231, 37))
GIVEN_COLOUR = (0.5, 0.5, 0.5)
MASK_SHADES = (96, 128)  # two greys of the checkerboard that stands for masked cells


def colour_map(values: Tensor) -> Tensor:
    """[...] in 0..1 -> [..., 3] in 0..1."""
    anchors = torch.tensor(VIRIDIS, dtype=torch.float32) / 255
    place = values.float().clamp(0, 1) * (len(anchors) - 1)
    low = place.floor().long().clamp_max(len(anchors) - 2)
    return torch.lerp(anchors[low], anchors[low + 1], (place - low)[..., None])


def checkerboard(shape: torch.Size, cell: int) -> Tensor:
    """[H, W, 3] uint8, squares of half a cell."""
    half = max(cell // 2, 1)
    y, x = torch.arange(shape[0]) // half, torch.arange(shape[1]) // half
    light = (y[:, None] + x[None]) % 2
    return torch.where(light.bool(), MASK_SHADES[1], MASK_SHADES[0]).to(torch.uint8)[..., None].expand(-1, -1, 3)
