"""The judge on pictures of which nothing is known: what it reads, and what it takes for a good drawing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from recipe.data.open_captions import open_captions
from recipe.data.scenes import CANVAS, HALF, LARGE, PLACES, Item, Scene, centred, pair_items, placed
from recipe.data.subjects import COLOURS, load_subjects
from recipe.judge.calibration import BEST, blanks, chimeras, evaluation, faintest
from recipe.judge.pictures import render
from recipe.judge.placements import read_scenes, shown
from recipe.judge.reading import NOTHING, judge, judge_pairs
from recipe.judge.scores import score
from recipe.judge.thresholds import FILE, Thresholds, thresholds

COLOUR = "cyan"  # one background, which the judge is sooner ready for
PIZZA, BEE = (next(i for i, s in enumerate(load_subjects()) if s.name == name) for name in ("pizza", "bee"))


def scene(*items):
    return Scene("", COLOUR, items)


def on_colour(scenes):
    return [replace(each, colour=COLOUR) for each in scenes]


@pytest.fixture(scope="module")
def several():
    """Captions of every layout that training has."""
    found = [scene(centred(subject)) for subject in range(0, 320, 40)]
    found += [scene(Item(PIZZA, LARGE, 0, 0))] + [scene(placed(BEE, place)) for place in PLACES]
    found += [scene(*pair_items(PIZZA, BEE, relation)) for relation in ("above", "to the right of")]
    for axis in ("count", "arrangement"):
        found += [on_colour(caption.scenes)[0] for caption in open_captions(load_subjects(), axis, 6, seed=5)]
    return found


class TestReading:
    def test_compositions_of_every_kind(self, several):
        readings = read_scenes(render(several))
        assert [reading.shows for reading in readings] == [shown(each) for each in several]
        assert all(reading.good and reading.residual < 0.05 for reading in readings)

    def test_blurred_and_noisy_ones(self, several):
        noise = np.random.default_rng(7).normal(0, 0.03, (len(several), CANVAS, CANVAS, 3)).astype(np.float32)
        readings = read_scenes(
            np.clip(0.9 * render(several) + 0.1 * render(several).mean((1, 2), keepdims=True) + noise, 0, 1)
        )
        right = [reading.objects == shown(each)[1] for reading, each in zip(readings, several, strict=True)]
        assert np.mean(right) > 0.9

    def test_places_are_told_apart(self):
        there = {read.shows for read in read_scenes(render([scene(placed(BEE, place)) for place in PLACES]))}
        assert len(there) == len(PLACES)

    def test_one_more_or_one_less_is_another_scene(self):
        slots = [(0, 0), (HALF, 0), (0, HALF), (HALF, HALF)]
        for number in (2, 3, 4):
            drawn = scene(*(Item(BEE, HALF, *slot) for slot in slots[:number]))
            assert len(read_scenes(render([drawn]))[0].objects) == number


class TestGood:
    def test_a_blank_picture_is_no_good_picture(self):
        for reading in read_scenes(blanks()[list(COLOURS).index(COLOUR)][None]):
            assert reading.blank and not reading.good and reading.residual == 1 and not reading.objects
        blank = blanks()[list(COLOURS).index(COLOUR)][None]
        assert judge(blank)[0].subject == NOTHING and judge(blank)[0].residual == 1 and not judge(blank)[0].good
        assert judge_pairs(blank)[0].subjects == (NOTHING, NOTHING) and not judge_pairs(blank)[0].good

    def test_nor_one_that_is_nearly_blank(self):
        """Which lies nearer to some drawing than many a true picture does."""
        drawn = render([scene(centred(PIZZA))])
        faint = drawn[:, :1, :1] + 0.02 * (drawn - drawn[:, :1, :1])
        verdict = judge(faint)[0]
        assert verdict.blank and verdict.subject == NOTHING and not verdict.good

    def test_nor_halves_of_two_nor_noise(self, several):
        single = [each for each in several if len(each.items) == 1 and each.items[0].size != HALF]
        assert np.mean([reading.good for reading in read_scenes(chimeras(single))]) < 0.3
        noise = np.random.default_rng(1).random((4, 16, 16, 3), np.float32).repeat(8, 1).repeat(8, 2)
        on_it = render([scene()] * 4)
        on_it[:, 12:-12, 12:-12] = noise[:, 12:-12, 12:-12]
        assert not any(reading.good or reading.blank for reading in read_scenes(on_it))

    def test_shares_of_good_pictures_are_told(self):
        scenes = [scene(centred(subject)) for subject in (PIZZA, BEE)]
        figures, verdicts = score(scenes, render(scenes))
        assert figures["valid"]["hits"] == 2 and figures["residual"]["value"] < 0.02 and verdicts[0].good

    def test_the_residual_is_a_share_of_the_departure(self):
        limits = Thresholds(0.1, 0.2)
        assert limits.drawing(0.5, 5.0) == {"departure": 5.0, "residual": 0.1, "blank": False, "good": True}
        assert limits.drawing(7.0, 5.0)["residual"] == 1 and not limits.drawing(7.0, 5.0)["good"]
        assert limits.drawing(0.0, 0.1) == {"departure": 0.1, "residual": 1.0, "blank": True, "good": False}


class TestCalibration:
    def test_thresholds_are_those_that_were_measured(self):
        held = json.loads(FILE.read_text())
        assert (held["departure"], held["residual"]) == (thresholds().departure, thresholds().residual)
        own = held["measured"]
        assert own["real compositions"]["read right"]["share"] > 0.99 < own["real compositions"]["valid"]["share"]
        assert own["codec reconstructions"]["read right"]["share"] > 0.95
        assert own["codec reconstructions"]["valid"]["share"] > BEST - 0.1
        assert own["blank pictures, through the codec"]["nothing drawn"]["share"] == 1

    def test_the_evaluation_is_of_held_out_pairs_of_every_kind(self):
        scenes = evaluation(40)
        assert len(scenes) == 40 and {len(each.items) for each in scenes} == {1, 2, 3}

    def test_the_faintest_object_is_told_from_nothing(self):
        assert faintest() > thresholds().departure
