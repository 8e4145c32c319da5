"""Figures of the suites' pictures: what the judge reads, and each choice against vanilla, picture by picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recipe.data.scenes import Scene
from recipe.judge.picture_metrics import sharpness
from recipe.judge.pictures import render
from recipe.judge.placements import Placed, read_scenes
from recipe.judge.reading import judge
from recipe.judge.scores import mean_interval, share, sized
from recipe.judge.templates import describe, read

from ..measuring import floats, mean_figure
from .coverage import clustered, flip_p, null, repeats, resampled, variation
from .questions import OUTSIDE, Question
from .store import Pictures


@dataclass(frozen=True)
class Completed:
    """Values a picture, [P]: the object is the true one; as good a drawing as the codec's; what it leaves unexplained;
    distance to the true picture in the judge's features; sharpness."""

    right: np.ndarray
    valid: np.ndarray
    residual: np.ndarray
    distance: np.ndarray
    sharpness: np.ndarray


def completed(scenes: list[Scene], images: np.ndarray, real: np.ndarray | None = None) -> Completed:
    """images: [P, H, W, 3]; real: the true pictures, drawn from the scenes by default."""
    images = floats(images)
    real = render(scenes) if real is None else real
    verdicts = judge(images)
    right = [v.drawn(scene) and v.colour == scene.colour for v, scene in zip(verdicts, scenes, strict=True)]
    return Completed(
        np.array(right),
        np.array([verdict.good for verdict in verdicts]),
        np.array([verdict.residual for verdict in verdicts]),
        (describe(read(images)) - describe(read(real))).norm(dim=1).numpy(),
        sharpness(sized(images)).numpy(),
    )


def completion_figures(scenes: list[Scene], own: Completed) -> dict:
    """Intervals of shares allow for scenes of one subject being alike."""
    count, groups = len(own.right), subjects_of(scenes)
    return {
        "scenes": count,
        "right": grouped_share(own.right, groups),
        "valid": grouped_share(own.valid, groups),
        "right_by_subject": mean_figure(means_of(own.right, groups)),
        **{name: mean_interval(getattr(own, name)) for name in ("residual", "distance", "sharpness")},
    }


def grouped_share(values: np.ndarray, groups: Sequence[int]) -> dict:
    """Of bool values [N], those of one group being alike; where all are the same, with Wilson's interval."""
    hits = int(values.sum())
    found = share(hits, len(values))
    if 0 < hits < len(values):
        found["interval95"] = list(clustered(values.astype(float), groups))
    return found


def subjects_of(scenes: list[Scene]) -> list[int]:
    return [scene.items[0].subject for scene in scenes]


def means_of(values: np.ndarray, groups: list[int]) -> np.ndarray:
    """[G] the mean of each group's values."""
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(place, values) / sizes


def completion_change(scenes: list[Scene], own: Completed, vanilla: Completed) -> dict:
    """Against vanilla on the scenes that both have. Interval and test allow for scenes of one subject being alike."""
    count = min(len(own.right), len(vanilla.right))
    groups = subjects_of(scenes[:count])
    ours, theirs = own.right[:count], vanilla.right[:count]
    gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    found = {"gained": gained, "lost": lost, "of": count}
    found["right"] = change(ours, theirs, groups)
    found["valid"] = change(own.valid[:count], vanilla.valid[:count], groups)
    return found


def change(ours: np.ndarray, theirs: np.ndarray, groups: list[int]) -> dict:
    differences = ours.astype(float) - theirs.astype(float)
    _, place = np.unique(groups, return_inverse=True)
    p = flip_p(np.bincount(place, differences))
    return {"value": float(differences.mean()), "interval95": list(clustered(differences, groups)), "p": p}


@dataclass(frozen=True)
class Answers:
    """Of one axis and case: which kind each picture is, [rounds, captions], OUTSIDE for none of those allowed, and what
    the drawings leave unexplained."""

    questions: list[Question]
    kinds: np.ndarray
    residual: np.ndarray
    sharpness: np.ndarray
    blank: np.ndarray

    @classmethod
    def read(cls, questions: list[Question], pictures: Pictures) -> "Answers":
        images = floats(pictures.images)
        readings: list[Placed] = read_scenes(images)
        kinds = [questions[i % len(questions)].answer(reading) for i, reading in enumerate(readings)]
        shape = (-1, len(questions))
        return cls(
            questions,
            np.array(kinds).reshape(shape),
            np.array([reading.residual for reading in readings]).reshape(shape),
            sharpness(sized(images)).numpy().reshape(shape),
            np.array([reading.blank for reading in readings]).reshape(shape),
        )

    @property
    def groups(self) -> np.ndarray:
        """[rounds, captions]: pictures of one caption are alike, those without a caption are not."""
        found = np.tile(np.arange(self.kinds.shape[1]), (len(self.kinds), 1))
        for _, columns in self.asked:
            if len(columns) > 1:
                found[:, columns] = found.size + np.arange(found[:, columns].size).reshape(len(found), -1)
        return found

    @property
    def valid(self) -> np.ndarray:
        return self.kinds != OUTSIDE

    @property
    def asked(self) -> list[tuple[Question, list[int]]]:
        """Every question with its columns: the empty caption stands in several, and is one."""
        columns: dict[str, list[int]] = {}
        for place, question in enumerate(self.questions):
            columns.setdefault(question.caption, []).append(place)
        return [(self.questions[places[0]], places) for places in columns.values()]

    def counts(self, columns: list[int], most: int | None = None) -> np.ndarray:
        """[kinds], of the valid pictures of one question, of the first `most` of them."""
        kinds = self.kinds[:, columns].ravel()
        return np.bincount(kinds[kinds != OUTSIDE][:most], minlength=len(self.questions[columns[0]].weights))

    def coverage(self) -> list[dict]:
        """Of every question: total variation, that of as many draws from the truth, repeats, those of the truth; NaN
        where fewer than two pictures are valid."""
        found = []
        for question, columns in self.asked:
            counts = self.counts(columns)
            if counts.sum() < 2:
                found.append(dict.fromkeys(("variation", "null", "repeats", "true_repeats"), np.nan))
                continue
            figures = variation(counts, question.weights), null(question.weights, int(counts.sum()))
            again = repeats(counts), float((question.weights**2).sum())
            found.append(dict(zip(("variation", "null", "repeats", "true_repeats"), (*figures, *again), strict=True)))
        return found


def nearer(ours: Answers, theirs: Answers) -> np.ndarray:
    """[questions] what the total variation of `ours` is smaller by, on as many valid pictures of both, so that chance
    has the same part in either; NaN where one has fewer than two."""
    found = []
    for question, columns in ours.asked:
        number = min(int(answers.counts(columns).sum()) for answers in (ours, theirs))
        own, other = (answers.counts(columns, number) for answers in (ours, theirs))
        told = number > 1
        found.append(variation(other, question.weights) - variation(own, question.weights) if told else np.nan)
    return np.array(found)


def open_figures(several: list[Answers]) -> dict:
    """Of one case over one axis, or several: shares of valid and blank pictures, and what is covered, the mean over
    captions with an interval by a bootstrap over them."""
    valid = np.concatenate([answers.valid.ravel() for answers in several])
    blank = np.concatenate([answers.blank.ravel() for answers in several])
    groups = np.concatenate([answers.groups.ravel() + 10**6 * axis for axis, answers in enumerate(several)])
    each = [figure for answers in several for figure in answers.coverage()]
    known = [figure for figure in each if not np.isnan(figure["variation"])]
    found = {
        "pictures": len(valid),
        "captions": len(each),
        "captions_covered": len(known),
        "valid": grouped_share(valid, groups),
        "valid_by_caption": mean_figure(np.concatenate([answers.valid.mean(0) for answers in several])),
        "blank": grouped_share(blank, groups),
        "residual": mean_interval(np.concatenate([answers.residual.ravel() for answers in several])),
        "sharpness": mean_interval(np.concatenate([answers.sharpness.ravel() for answers in several])),
    }
    beyond = np.array([figure["variation"] - figure["null"] for figure in known])
    again = np.array([figure["repeats"] - figure["true_repeats"] for figure in known])
    if known:
        found |= {name: float(np.mean([figure[name] for figure in known])) for name in known[0]}
        for name, values in (("excess", beyond), ("repeats_excess", again)):
            found[name] = {"value": float(values.mean()), "interval95": resampled(values)}
    return found


def open_change(ours: list[Answers], theirs: list[Answers]) -> dict:
    """Against vanilla, caption by caption, over one axis or several; more is better: valid pictures, and coverage,
    which is what the total variation falls by, where two captions have enough valid pictures in both."""
    valid = np.concatenate([a.valid.mean(0) - b.valid.mean(0) for a, b in zip(ours, theirs, strict=True)])
    covered = np.concatenate([nearer(a, b) for a, b in zip(ours, theirs, strict=True)])
    told = {"valid": valid, "coverage": covered[~np.isnan(covered)]}
    return {name: over_captions(values) for name, values in told.items() if len(values) > 1}


def over_captions(differences: np.ndarray) -> dict:
    return {"value": float(differences.mean()), "interval95": resampled(differences), "p": flip_p(differences)}
