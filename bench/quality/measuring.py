"""What the judge says of pictures, prompt by prompt, and the figures made of it."""

from dataclasses import dataclass

import numpy as np
import torch

from recipe.data.scenes import Scene
from recipe.judge.picture_metrics import frechet, jackknife, reduce, sharpness
from recipe.judge.pictures import render
from recipe.judge.scores import score, share, sized
from recipe.judge.templates import describe, read

from .decoding import right
from .statistics import Mean, sign_p, win_rate


@dataclass(frozen=True)
class Measured:
    """A value a prompt, [P]: whether background and object (or both, in their places) are as asked for, distance in the
    judge's features to the composition that was asked for, sharpness of the outlines. features: [P, D].
    spread: [A] distance between two pictures of one prompt. shares: the judge's, with intervals."""

    right: np.ndarray
    distance: np.ndarray
    sharpness: np.ndarray
    features: torch.Tensor
    spread: np.ndarray
    shares: dict


class Yardstick:
    """The real compositions of some prompts."""

    def __init__(self, scenes: list[Scene]):
        self.scenes = scenes
        self.real = render(scenes)
        self.features = describe(read(self.real))

    def measure(self, images: np.ndarray, again: np.ndarray | None = None) -> Measured:
        """images: [P, H, W, 3] of the first P prompts; again: [A, H, W, 3] of the first A, with another seed."""
        count = len(images)
        images = floats(images)
        shares, verdicts = score(self.scenes[:count], images)
        features = describe(read(images))
        spread = np.empty(0)
        if again is not None:
            spread = (describe(read(floats(again))) - features[: len(again)]).norm(dim=1).numpy()
        return Measured(
            right(self.scenes[:count], verdicts),
            (features - self.features[:count]).norm(dim=1).numpy(),
            sharpness(sized(images)).numpy(),
            features,
            spread,
            shares,
        )

    def figures(self, measured: Measured) -> dict:
        """Shares with 95 % Wilson intervals, means with 95 % intervals, Fréchet distance with that of a jackknife."""
        count = len(measured.right)
        real, own = reduce(self.features[:count], measured.features)
        means = {"distance": measured.distance, "sharpness": measured.sharpness}
        means |= {"diversity": measured.spread} if len(measured.spread) else {}
        return {
            "prompts": count,
            "right": share(int(measured.right.sum()), count),
            **measured.shares,
            **{name: mean_figure(values) for name, values in means.items()},
            "frechet": {"value": frechet(real, own), "interval95": list(jackknife(frechet, real, own))},
        }


def floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images


def mean_figure(values: np.ndarray) -> dict:
    mean = Mean.of(values)
    return {"value": mean.value, "deviation": mean.deviation, "count": mean.count, "interval95": list(mean.interval)}


def against(ours: Measured, theirs: Measured) -> dict:
    """Prompt by prompt, on those that both have: the win rate (whose picture lies nearer to what was asked for), the
    mean change of that distance in percent of theirs, and the prompts gained and lost with McNemar's exact test."""
    count = min(len(ours.right), len(theirs.right))
    distances = ours.distance[:count], theirs.distance[:count]
    change = Mean.of(100 * (distances[0] - distances[1]) / distances[1].mean())
    mine, other = ours.right[:count], theirs.right[:count]
    gained, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
    return {
        "win_rate": win_rate(*distances),
        "distance_change": {"value": change.value, "interval95": list(change.interval)},
        "gained": gained,
        "lost": lost,
        "p_right": sign_p(gained, lost),
    }
