"""Oklab, a space in which distances are differences that people see (B. Ottosson, "A perceptual color space for image
processing", 2020)."""

import torch
from torch import Tensor

# Linear light of sRGB to cones, and roots of these to lightness, green-red and blue-yellow: a row an output.
CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
OPPONENT = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(colours: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> lightness from 0 to 1, and a and b, each within 0.4 of 0 [..., 3] float32.

    Black and white are 1 apart, and no two colours of sRGB are further; 0.02 is just seen."""
    colours = colours.float()
    dark = colours / 12.92
    bright = ((colours.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    light = torch.where(colours <= 0.04045, dark, bright)
    cones = light @ light.new_tensor(CONES).T
    return cones.clamp_min(0) ** (1 / 3) @ light.new_tensor(OPPONENT).T
