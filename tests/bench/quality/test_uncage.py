"""The run that asks whether UNCAGE binds objects better: what is right, its verdicts, and what the page tells."""

import numpy as np
import pytest

import mgt_core
from bench.kept import json_in
from bench.quality.uncage import (
    CASES,
    DOCS,
    HYPOTHESES,
    NAME,
    SEED,
    STEPS,
    VANILLA,
    caption,
    names,
    outcomes,
    published,
    right,
)
from recipe.data.scenes import held_out_pairs
from recipe.data.subjects import load_subjects
from recipe.judge.pictures import render
from recipe.judge.reading import judge_pairs
from support.device import HERE

SCENES = held_out_pairs(load_subjects(), 12, SEED)


def test_true_pictures_are_right_in_whichever_order():
    verdicts = judge_pairs(render(SCENES))
    assert sum(right(scene, verdict) for scene, verdict in zip(SCENES, verdicts, strict=True)) >= 11
    assert not right(SCENES[0], verdicts[1])


def test_every_object_is_found_in_its_caption():
    text = mgt_core.load("demo", **HERE).text
    for scene in SCENES:
        assert " and " in caption(scene)
        assert len(mgt_core.object_words(text, caption(scene), names(scene))) == 2


@pytest.mark.parametrize(
    "gained, lost, verdict", [(30, 2, "holds"), (2, 30, "the opposite holds"), (9, 8, "not shown")]
)
def test_verdicts(gained, lost, verdict):
    ours, theirs = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    ours[:gained] = theirs[gained : gained + lost] = True
    pictures = {(VANILLA, steps): theirs for steps in STEPS} | dict.fromkeys(HYPOTHESES, ours)
    found = outcomes(pictures)
    assert len(found) == len(CASES) * len(STEPS) and {own["verdict"] for own in found.values()} == {verdict}
    assert all((own["gained"], own["lost"]) == (gained, lost) for own in found.values())


def test_the_page_tells_what_was_found():
    assert published(json_in(DOCS / NAME)) in (DOCS / "techniques.md").read_text(encoding="utf-8")
