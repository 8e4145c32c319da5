"""What stands before a picture's background, of any picture: what differs from the colours at its border."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .oklab import oklab

CELLS = 64  # that a picture is looked at in, along its longer side at the most
SAMPLES = 64  # colours of the border that others are compared with, about
PART = 10  # one of so many of the border has to be like a colour for that to be background
SEEN = 0.05  # difference of colour, in Oklab, below which nothing stands out


def cell_side(pictures: Tensor) -> int:
    """In pixels."""
    return -(-max(pictures.shape[1:3]) // CELLS)


def cells_of(pictures: Tensor) -> Tensor:
    """[n, H, W, C] -> means of square cells [n, h, w, C], at most `CELLS` along a side."""
    planes = pictures.float().movedim(-1, 1)
    pooled = F.avg_pool2d(planes, cell_side(pictures), ceil_mode=True, count_include_pad=False)
    return pooled.movedim(1, -1)


def mask_on(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """[m, h, w] -> [m, *size]: stretched, each place holding the mean of what it covers."""
    return F.interpolate(mask[:, None], size, mode="bilinear", antialias=True, align_corners=False)[:, 0].clamp(0, 1)


def standing_out(pictures: Tensor, wanted: Tensor | None = None) -> Tensor:
    """How far the colour of each cell is from the background's, in Oklab [n, h, w] float32.

    The background is the border: a colour belongs to it when a tenth of the border has nearly that colour, so a
    background may be of several colours, and an object may reach the edge. Given is the distance to the colour that
    closes that tenth. wanted [n, h, w]: shares of the cells where an object is to be, whose border does not tell of the
    background, unless there is no other.
    """
    cells = oklab(cells_of(pictures))
    count, height, width = cells.shape[:3]
    rim = torch.ones(height, width, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    places = rim.flatten().nonzero()[:, 0]
    places = places[:: -(-len(places) // SAMPLES)]
    border = cells.flatten(1, 2)[:, places.to(cells.device)]
    free = torch.ones(count, len(places), dtype=torch.bool, device=cells.device)
    if wanted is not None:
        free = wanted.flatten(1)[:, places.to(wanted.device)].to(cells.device) < 0.5
        free = free | ~free.any(1, keepdim=True)
    far = (cells.flatten(1, 2)[:, :, None] - border[:, None]).norm(dim=-1)
    most = -(-len(places) // PART)
    far = far.masked_fill(~free[:, None], torch.inf).topk(most, largest=False).values
    tenth = (free.sum(1) + PART - 1) // PART - 1
    return far.gather(-1, tenth[:, None, None].expand(-1, far.shape[1], 1))[..., 0].view(count, height, width)


def otsu(values: Tensor) -> Tensor:
    """The value that parts each row of [n, P] in two: those up to it and those above have means that are as far apart
    as may be, by N. Otsu's measure (IEEE Trans. SMC 9(1), 1979): shares of both times the squared difference [n]."""
    ordered = values.sort(1).values
    below = ordered.cumsum(1)[:, :-1]
    count = values.shape[1]
    low = torch.arange(1, count, device=values.device)
    apart = below / low - (ordered.sum(1, keepdim=True) - below) / (count - low)
    between = low * (count - low) * apart**2
    return ordered.gather(1, between.argmax(1, keepdim=True))[:, 0]


def foreground(pictures: Tensor, wanted: Tensor | None = None, contrast: float = SEEN) -> Tensor:
    """Which cells of pictures [n, H, W, 3] are no background [n, h, w] bool: what `standing_out` parts from the rest by
    `otsu`, and by more than `contrast`; nothing where nothing does."""
    far = standing_out(pictures, wanted)
    least = otsu(far.flatten(1)).clamp_min(contrast)
    return far > least[:, None, None]
