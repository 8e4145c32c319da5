"""Pictures to calibrate on, brought to the size and the tokens of a model."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codecs.base import Codec
from ..editing import encode_image
from ..errors import MGTError
from ..loading.disk import read_text
from ..loading.pipeline import Pipeline
from ..model import MGTModel
from ..shares import checked_shares
from ..types import PICTURES as PICTURES_MADE
from ..types import Condition, check_makes
from .calibration import checked_grid
from .pipeline import picture_conditions


def picture_tokens(model: MGTModel, codec: Codec, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """Tokens [B, h, w] of pictures [B, H, W, 3] of 0..1, scaled to the size that the model was trained at and cropped
    to their middle. grid: (height, width) in tokens, where it is to be another. Raises MGTError for anything else."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[-1] < 3 or not images.numel():
        held = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise MGTError(f"images are {held}; expected pictures of shape [batch, height, width, 3]")
    check_makes(PICTURES_MADE, "calibrating on pictures", model=model)
    own = model.trained_size or tuple(side * model.pixels_per_token for side in model.network.trained_grid)
    size = tuple(side * model.pixels_per_token for side in checked_grid(grid)) if grid is not None else own
    return encode_image(model, codec, fitted(checked_shares("images", images[..., :3]), size)).tokens


def fitted(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of pictures [B, H, W, 3], [B, *size, 3]."""
    if images.shape[1:3] == size:
        return images
    scale = max(wanted / held for wanted, held in zip(size, images.shape[1:3], strict=True))
    inner = [max(wanted, round(held * scale)) for wanted, held in zip(size, images.shape[1:3], strict=True)]
    large = F.interpolate(images.permute(0, 3, 1, 2).float(), inner, mode="bilinear", antialias=True)
    top, left = ((held - wanted) // 2 for held, wanted in zip(inner, size, strict=True))
    return large[..., top : top + size[0], left : left + size[1]].permute(0, 2, 3, 1).clamp(0, 1)


def folder_pictures(folder: Path, pipe: Pipeline) -> tuple[Tensor, tuple[Condition, Condition]]:
    """Tokens [P, h, w] of all pictures in a folder, and what `picture_conditions` gives for them: captions are in .txt
    files beside them, classes the subfolders in their order. Raises MGTError for a folder without pictures."""
    from ..self_guidance.examples import PICTURES, picture

    check_makes(PICTURES_MADE, "calibrating on pictures", model=pipe.model)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not files:
        raise MGTError(f"{folder} is no folder with pictures ({', '.join(PICTURES)})")
    images = (torch.from_numpy(picture(file, pipe.size))[None] for file in files)
    tokens = torch.cat([picture_tokens(pipe.model, pipe.codec, image) for image in images])
    texts = [file.with_suffix(".txt") for file in files]
    captions = [read_text(text).strip() if text.is_file() else "" for text in texts]
    classes = {path: index for index, path in enumerate(sorted(p for p in folder.iterdir() if p.is_dir()))}
    labels = [classes.get(file.parent) for file in files]
    told = None if None in labels else torch.tensor(labels)
    return tokens, picture_conditions(pipe.model, pipe.text, captions if any(captions) else (), told)
