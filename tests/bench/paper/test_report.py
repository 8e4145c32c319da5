"""Figures of a comparison, from scores that are known."""

import json

import pytest

from bench.paper.choices import VANILLA
from bench.paper.page import page
from bench.paper.pictures import Comparison, Tried, by_choice
from bench.paper.prompts import Prompt
from bench.paper.report import half_width, report
from bench.sweep.spec import Spec

COUNT = 12
NAMES = (VANILLA, "better", "alike", "vanilla, 6 steps")


@pytest.fixture
def tried():
    prompts = [Prompt(f"prompt {place}", ("anime", "photo")[place % 2]) for place in range(COUNT)]
    settings = {name: {"steps": 6 if name == NAMES[3] else 3} for name in NAMES}
    comparison = Comparison(Spec([p.text for p in prompts], settings, [100]), prompts, "hpsv2:12")
    costs = {name: {"steps": 3, "passes": 6, "seconds": 1.0, "device": "cpu"} for name in NAMES[:3]}
    costs["better"]["passes"] = 12
    return Tried(comparison, costs, {"better": NAMES[3]}, {"merging": "it cannot"})


@pytest.fixture
def rows(tried):
    found = {}
    for name in NAMES:
        for index in range(COUNT):
            job = tried.comparison.job(name, index)
            costs = {"seconds": 9.0 if index == 0 else 2.0 if name == "better" else 1.0, "device": "cpu"}
            costs |= {"steps": job.settings["steps"], "passes": 12 if name in (NAMES[1], NAMES[3]) else 6}
            found[job.name] = {"name": job.name, "file": "x", "error": "", **costs}
    found[tried.comparison.job("alike", 11).name]["error"] = "out of memory"
    return found


@pytest.fixture
def scores(tried):
    """Vanilla has 10, the better one 11 but for one prompt with 9, the twin 11 always, the third as vanilla."""
    values = {VANILLA: [10] * COUNT, "better": [9] + [11] * 11, "alike": [10] * COUNT, NAMES[3]: [11] * COUNT}
    return {tried.comparison.job(n, i).name: float(values[n][i]) for n in NAMES for i in range(COUNT)}


def test_win_rates_at_equal_steps_and_passes(tried, rows, scores):
    judge = {"title": "J", "unit": "points", "weights": "w", "scores": scores}
    found = report(tried, rows, {"j": judge}, {"hps": "it needs a package"})
    case = found["cases"]["better"]
    steps, passes = (case[kind]["judges"]["j"] for kind in ("against_vanilla", "against_equal_passes"))
    assert (steps["win_rate"]["wins"], steps["win_rate"]["losses"]) == (11, 1)
    assert steps["win_rate"]["share"] == pytest.approx(11 / 12, abs=1e-4)
    assert steps["win_rate"]["interval95"] == pytest.approx([0.6461, 0.9851], abs=1e-3)  # Wilson
    assert steps["change"]["value"] == pytest.approx(10 / 12)
    assert steps["win_rate"]["p_of_all"] == 2 * steps["win_rate"]["p"] == pytest.approx(2 * 2 * 13 / 2**12)  # of two
    assert (passes["win_rate"]["wins"], passes["win_rate"]["losses"], passes["win_rate"]["share"]) == (0, 1, 0.4583)
    assert case["against_equal_passes"]["case"] == NAMES[3] and case["against_equal_passes"]["passes"] == 12
    assert case["seconds"] == 2.0 and case["relative_time"] == 2.0  # the first picture warms up
    assert "against_equal_passes" not in found["cases"]["alike"] and "against_vanilla" not in found["cases"][NAMES[3]]
    alike = found["cases"]["alike"]
    assert alike["pictures"] == 11 and alike["against_vanilla"]["judges"]["j"]["win_rate"]["of"] == 11
    assert alike["against_vanilla"]["judges"]["j"]["win_rate"]["share"] == 0.5
    assert case["scores"]["j"]["groups"] == {"anime": pytest.approx(64 / 6), "photo": 11.0}
    json.dumps(found, allow_nan=False)


def test_the_page_says_what_can_be_said(tried, rows, scores):
    judge = {"title": "J", "unit": "points", "weights": "w", "scores": scores}
    told = page(report(tried, rows, {"j": judge}, {"hps": "it needs a package"}), [0, 2])
    assert "| better | vanilla: 6 | 12 | 91.7 % (65–99) | 0.013 |" in told
    assert "| better | vanilla, 6 steps: 12 | 12 | 45.8 %" in told
    assert "better *better*; worse none; the other 1 of 2 cannot be told from vanilla" in told
    assert "*merging* was left out: it cannot." in told and "The judge *hps* was left out: it needs a package." in told
    assert "12 prompts (`hpsv2:12`), prompt i from seed 100 + i" in told and "± 25.9 points" in told
    assert "1. prompt 0\n2. prompt 2\n" in told and "| anime | photo |" in told


def test_one_prompt_has_no_interval(tried, rows, scores):
    one = Tried(
        Comparison(tried.comparison.spec, tried.comparison.prompts[:1]), tried.costs, tried.equal, tried.refused
    )
    found = report(one, rows, {"j": {"title": "J", "unit": "points", "weights": "w", "scores": scores}}, {})
    assert found["cases"]["better"]["against_vanilla"]["judges"]["j"]["change"]["interval95"] is None
    json.dumps(found, allow_nan=False)
    assert "| better | vanilla: 6 | 12 | 0.0 %" in page(found)


def test_how_sure_a_win_rate_is():
    assert round(half_width(100)) == 9 and round(half_width(800), 1) == 3.2
    assert half_width(100, 0.5) == pytest.approx(9.8)


def test_a_picture_that_failed_is_none(tried, rows):
    assert [row is None for row in by_choice(tried.comparison, rows)["alike"]] == [False] * 11 + [True]
