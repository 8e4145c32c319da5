"""What the judge's readings of many pictures come to: shares with intervals, and how near they are to real ones."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..data.scenes import CANVAS, Scene
from .picture_metrics import covered, frechet, jackknife, reduce, sharpness
from .reading import PairVerdict, Verdict, judge, judge_pairs
from .templates import describe, read


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return middle - half, middle + half


def share(hits: int, total: int) -> dict:
    ends = [round(end, 4) for end in wilson(hits, total)]
    return {"hits": hits, "of": total, "share": round(hits / total, 4), "interval95": ends}


def score(scenes: list[Scene], images: np.ndarray) -> tuple[dict, list[Verdict | PairVerdict]]:
    """What the judge reads in `images` [B, H, W, 3]: shares of right backgrounds, of right objects among scenes of one
    object ("object"), of both objects in their places among scenes of two ("layout"), and of pictures that are as near
    to a known drawing as the codec's are ("valid"), with intervals; what the drawings read leave unexplained."""
    verdicts: list[Verdict | PairVerdict | None] = [None] * len(scenes)
    figures = {}
    for name, count, read_as in (("object", 1, judge), ("layout", 2, judge_pairs)):
        rows = [row for row, scene in enumerate(scenes) if len(scene.items) == count]
        if not rows:
            continue
        for row, verdict in zip(rows, read_as(images[rows])):
            verdicts[row] = verdict
        figures[name] = share(sum(verdicts[row].drawn(scenes[row]) for row in rows), len(rows))
    grounds = sum(v.colour == s.colour for v, s in zip(verdicts, scenes))
    valid = share(sum(verdict.good for verdict in verdicts), len(scenes))
    residual = mean_interval(np.array([verdict.residual for verdict in verdicts]))
    return {"background": share(grounds, len(scenes)), **figures, "valid": valid, "residual": residual}, verdicts


def compare(images: np.ndarray, real: np.ndarray) -> dict:
    """Sharpness, and distances to the real compositions of the same prompts; both [B, H, W, 3]."""
    features = [describe(read(pictures)) for pictures in (real, images)]
    own, other = reduce(*features)
    steep = sharpness(sized(images)).numpy()
    return {
        "sharpness": mean_interval(steep),
        "frechet": _interval(frechet(own, other), jackknife(frechet, own, other)),
        "precision": share(int(covered(other, own).sum()), len(other)),
        "recall": share(int(covered(own, other).sum()), len(own)),
    }


def mean_interval(values: np.ndarray) -> dict:
    """Mean with its normal 95 % interval."""
    error = 1.96 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return _interval(values.mean(), (values.mean() - error, values.mean() + error))


def _interval(value: float, ends: tuple[float, float]) -> dict:
    return {"value": round(float(value), 4), "interval95": [round(float(end), 4) for end in ends]}


def sized(images: np.ndarray) -> torch.Tensor:
    """Pictures of another size are compared at the model's own."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (CANVAS, CANVAS):
        pixels = F.interpolate(pixels, (CANVAS, CANVAS), mode="bilinear", antialias=True)
    return pixels.permute(0, 2, 3, 1)
