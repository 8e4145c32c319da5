"""A curve of one's own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..registry import SCHEDULES
from ..settings import hold
from .base import MaskSchedule


@SCHEDULES.register("custom")
@dataclass(frozen=True)
class CustomCurve(MaskSchedule):
    """A curve through (progress, masked fraction) points, monotone cubic between them
    (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980), so that it never rises.

    points: at least two, progress rising from 0 to 1, fraction falling from 1 to 0.
    """

    listed = False

    points: tuple[tuple[float, float], ...] = ((0.0, 1.0), (0.5, 0.75), (1.0, 0.0))

    def __post_init__(self):
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError):
            raise MGTError(f"curve points are {self.points!r}; expected pairs of numbers") from None
        hold(self, points=points)
        if len(points) < 2 or points[0] != (0.0, 1.0) or points[-1] != (1.0, 0.0):
            raise MGTError(f"curve points are {points}; they must go from (0, 1) to (1, 0)")
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            if not (x0 < x1 and y0 >= y1):
                raise MGTError(
                    f"curve points ({x0}, {y0}) and ({x1}, {y1}) are out of order: "
                    "progress must rise and the fraction may not"
                )

    def formula(self, progress: Tensor) -> Tensor:
        x, y = (torch.tensor(values, dtype=torch.float64) for values in zip(*self.points, strict=True))
        r = progress.double()
        width, slope = x.diff(), y.diff() / x.diff()
        tangent = monotone_tangents(width, slope)
        i = (torch.searchsorted(x, r.contiguous(), right=True) - 1).clamp(0, len(width) - 1)
        t = (r - x[i]) / width[i]
        value = (
            (2 * t**3 - 3 * t**2 + 1) * y[i]
            + (t**3 - 2 * t**2 + t) * width[i] * tangent[i]
            + (3 * t**2 - 2 * t**3) * y[i + 1]
            + (t**3 - t**2) * width[i] * tangent[i + 1]
        )
        return value.float()


def monotone_tangents(width: Tensor, slope: Tensor) -> Tensor:
    """Derivatives at the points of a monotone cubic: weighted harmonic means of the neighbouring
    slopes, 0 where a side is flat, the first and last slope at the ends."""
    before, after = slope[:-1], slope[1:]
    w0, w1 = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner = torch.where(before * after > 0, (w0 + w1) / (w0 / before + w1 / after), 0.0)
    return torch.cat([slope[:1], inner, slope[-1:]])
