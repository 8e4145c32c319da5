"""Pictures as networks take them, without torchvision: what it and transformers' processors do to them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def cropped(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to `size` (bicubic), the middle cut out, as CLIP's preprocessing has it."""
    short = min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def fitted(image: Image.Image, size: int) -> Tensor:
    """[3, size, size]: all of the picture, its longer side resized to `size`, in the middle of black. Resized as float,
    so that what bicubic adds beyond 0 and 1 stays."""
    values = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    height, width = (max(1, round(side * size / max(image.size))) for side in values.shape[1:])
    resized = F.interpolate(values[None], (height, width), mode="bicubic", align_corners=False, antialias=True)[0]
    left, top = (size - width) // 2, (size - height) // 2
    return F.pad(resized, (left, size - width - left, top, size - height - top))


def normalized(images: Sequence[Image.Image], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures of one size -> [N, 3, H, W] float, (x / 255 - mean) / std."""
    values = torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images])).float() / 255
    return ((values - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2).contiguous()


def clip_pixels(images: Sequence[Image.Image], size: int) -> Tensor:
    """[N, 3, size, size] as CLIP and BLIP were trained on."""
    return normalized([cropped(image, size) for image in images], CLIP_MEAN, CLIP_STD)


def whole_pixels(images: Sequence[Image.Image], size: int) -> Tensor:
    """[N, 3, size, size] as HPSv2 was trained on: nothing cut off, black bars beside pictures that are not square."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (torch.stack([fitted(image, size) for image in images]) - mean) / std
