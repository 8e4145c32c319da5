"""The suites that leave something to decide: what they give, ask, count and keep."""

from dataclasses import replace

import numpy as np
import pytest

from bench.quality.cases import VANILLA
from bench.quality.suites import choices, hypotheses, store
from bench.quality.suites.completion import EVERY, Completion, inside, kept_cells, scenes
from bench.quality.suites.figures import Answers, open_change, open_figures
from bench.quality.suites.plan import Extent, plan
from bench.quality.suites.questions import OUTSIDE, UNPROMPTED, OpenCaptions, Question, axes, questions
from bench.quality.suites.tuning import AIM, NEAR, choose
from mgt_core import files
from recipe.data.scenes import held_out
from recipe.data.subjects import load_subjects
from recipe.judge.placements import Placed, shown
from support.quality import SETTINGS, fake

BASE = choices.base(SETTINGS)


def reading(scene, **other):
    return Placed(**{"departure": 9.0, "residual": 0.0, "blank": False, "good": True} | other, **looks(scene))


def looks(scene):
    return dict(zip(("colour", "objects"), shown(scene), strict=True))


class TestCompletion:
    def test_scenes_are_held_out_and_those_for_tuning_are_others(self):
        names = [subject.name for subject in load_subjects()]
        assert all(held_out(names[scene.items[0].subject], scene.colour) for scene in scenes() + scenes(tuning=True))
        told = [{(s.items[0].subject, s.colour) for s in scenes(tuning=tuning)} for tuning in (False, True)]
        assert not told[0] & told[1] and len(told[0]) == len(scenes()) > (EVERY - 2) * len(told[1])

    def test_kept_are_the_corners_and_as_many_cells_inside_the_object(self):
        for scene in scenes()[:5]:
            covered, cells = inside(scene, (16, 16)), kept_cells(scene, (16, 16), 3, seed=5)
            assert cells[[0, 0, -1, -1], [0, -1, 0, -1]].all() and cells.sum() == 7
            assert (cells & covered).sum() == 3 and not covered[[0, 0, -1, -1], [0, -1, 0, -1]].any()
            assert (kept_cells(scene, (16, 16), 3, seed=5) == cells).all()
            assert (kept_cells(scene, (16, 16), 3, seed=6) != cells).any()
        assert (kept_cells(scene, (16, 16), 999, seed=5) & covered).sum() == covered.sum()

    def test_what_is_kept_stays_and_all_else_is_masked(self, pipe):
        suite = Completion(BASE, kept=2)
        suite.chunk = 3
        told, state = suite.begin(pipe, 6)
        assert [scene.caption for scene in told] == [""] * 3
        assert state.fixed.sum((1, 2)).tolist() == [6] * 3 and (state.masked == ~state.fixed).all()
        out = store.decode(pipe, choices.completion_cases()[0], told, dict(BASE, steps=1), 0, state)
        assert (out.tokens == state.tokens)[state.fixed].all() and (out.tokens != state.mask_id).all()

    def test_rounds_keep_other_cells_of_the_same_scenes(self):
        suite, number = Completion(BASE, kept=2), len(scenes())
        assert suite.scenes(number, 2) == suite.scenes(0, 2)
        cells = [kept_cells(scenes()[0], (16, 16), 2, seed) for seed in (0, number)]
        assert (cells[0] != cells[1]).any()

    @pytest.mark.parametrize("middle", [2.0, 7.0, 15.0])
    def test_tuning_finds_the_aim(self, middle):
        shares = {kept: 1 / (1 + np.exp(0.4 * (middle - kept))) for kept in range(49)}
        kept, best = choose(shares.get), min(abs(share - AIM) for share in shares.values())
        assert abs(shares[kept] - AIM) <= max(NEAR, best)


class TestQuestions:
    @pytest.mark.parametrize("axis", axes())
    def test_the_truth_is_an_answer_and_a_bad_drawing_is_none(self, axis):
        suite = OpenCaptions(BASE, axis, 3)
        assert len(suite.questions) == suite.chunk == 3
        for question, scene in zip(suite.questions, suite.truth(0), strict=True):
            assert question.weights.sum() == pytest.approx(1) and len(question.answers) == len(question.weights)
            assert 0 <= question.answer(reading(scene)) < len(question.weights)
            assert question.answer(reading(scene, good=False)) == OUTSIDE
        assert suite.truth(0) == suite.truth(0) and (axis == UNPROMPTED or suite.truth(0) != suite.truth(300))

    def test_true_draws_of_two_axes_have_nothing_in_common(self):
        """Which of a caption's kinds is drawn, from the first to the last."""
        drawn = []
        for axis in ("place", "arrangement", "count"):
            suite = OpenCaptions(BASE, axis, 40)
            pairs = zip(suite.questions, suite.truth(0), strict=True)
            drawn.append([question.answer(reading(scene)) for question, scene in pairs])
        alike = np.corrcoef(drawn) - np.eye(3)
        assert abs(alike).max() < 0.5

    def test_what_a_caption_does_not_allow_is_no_answer(self):
        place, count = questions("place", 1)[0], questions("count", 1)[0]
        assert place.answer(reading(count.scenes[0])) == count.answer(reading(place.scenes[0])) == OUTSIDE

    def test_other_seeds_ask_other_captions(self):
        asked = [{q.caption for q in questions("count", 6, seed)} for seed in (0, 1)]
        assert not asked[0] & asked[1]


def answers(kinds, weights=(0.25,) * 4):
    kinds = np.array(kinds)
    asked = [Question(f"caption {i}", {}, np.array(weights), ()) for i in range(kinds.shape[1])]
    none = np.zeros(kinds.shape)
    return Answers(asked, kinds, none, none, kinds == OUTSIDE)


class TestCoverage:
    def test_a_model_that_knows_the_distribution_is_not_told_from_chance(self):
        rng = np.random.default_rng(3)
        found = open_figures([answers(rng.integers(4, size=(6, 400)))])
        low, high = found["excess"]["interval95"]
        assert low < 0 < high and high - low < 0.04 and found["valid"]["share"] == 1
        low, high = found["repeats_excess"]["interval95"]
        assert low < 0 < high

    def test_one_that_draws_always_the_same_is(self):
        kinds = np.ones((6, 20), int)
        kinds[0, 0] = kinds[:3, 1] = 2
        found = open_figures([answers(kinds)])
        assert found["variation"] == pytest.approx(0.73, abs=0.02) and found["excess"]["interval95"][0] > 0.3
        assert found["repeats"] > 0.9 and found["true_repeats"] == pytest.approx(0.25)

    def test_captions_that_are_few_or_all_alike_give_no_interval(self):
        for kinds in (np.ones((6, 20), int), np.random.default_rng(0).integers(4, size=(6, 5))):
            found = open_figures([answers(kinds)])
            assert found["excess"]["interval95"] is None and found["excess"]["value"] != 0

    def test_one_caption_in_several_columns_is_one_question(self):
        kinds = np.random.default_rng(0).integers(4, size=(6, 10))
        asked = answers(kinds)
        one = replace(asked, questions=asked.questions[:1] * 10)
        (found,), counts = one.coverage(), np.bincount(kinds.ravel())
        assert found["variation"] == pytest.approx(abs(counts / 60 - 0.25).sum() / 2) and len(asked.coverage()) == 10

    def test_pictures_of_nothing_that_is_allowed_are_not_covered(self):
        kinds = np.full((4, 10), OUTSIDE)
        kinds[:, :3] = np.arange(4)[:, None]
        found = open_figures([answers(kinds)])
        assert found["valid"]["hits"] == found["pictures"] * 0.3 and found["captions_covered"] == 3
        assert found["variation"] == 0 and found["blank"]["share"] == 0.7

    def test_fewer_valid_pictures_alone_cover_no_more(self):
        """Of three pictures that are alike one is invalid: what is left is as much alike."""
        same, fewer = np.ones((3, 12), int), np.ones((3, 12), int)
        fewer[0] = OUTSIDE
        change = open_change([answers(fewer)], [answers(same)])
        assert change["valid"]["value"] == pytest.approx(-1 / 3) and change["coverage"]["value"] == 0
        fewer[1] = OUTSIDE
        assert "coverage" not in open_change([answers(fewer)], [answers(same)])

    def test_changes_point_to_the_better(self):
        rng = np.random.default_rng(4)
        good, same = answers(rng.integers(4, size=(6, 12))), answers(np.ones((6, 12), int))
        change = open_change([good], [same])
        assert change["coverage"]["value"] > 0.3 and change["coverage"]["p"] < 0.01
        assert change["valid"] == {"value": 0.0, "interval95": None, "p": 1.0}
        worse = open_change([same], [good])["coverage"]
        assert worse["value"] == -change["coverage"]["value"] and worse["p"] == change["coverage"]["p"]


class TestHypotheses:
    def test_each_is_of_a_case_that_is_drawn(self):
        cases = {"completion": choices.completion_cases(), "open": choices.open_cases()}
        for each in hypotheses.HYPOTHESES:
            assert each.case in {case.name for case in cases[each.suite]}, each.claim

    def test_later_ones_have_scenes_of_their_own(self):
        """As many as they ask for; vanilla as many as any asks for."""
        names = {VANILLA: 20, "noise regularization 2": 20, "first-hitting": 2, "moment": 1}
        chosen = plan(SETTINGS, Extent(1000, 50, 2, 2), {"completion": list(names), "open": []}).completed
        assert {name: len(jobs) for name, jobs in chosen.items()} == names
        few = plan(SETTINGS, Extent(1000, 50, 2, 2), {"completion": [VANILLA, "first-hitting"], "open": []}).completed
        assert len(few[VANILLA]) == len(few["first-hitting"]) == 2

    def test_verdicts(self):
        kinds = {"right": {"value": 0.1, "interval95": [0, 0.2], "p": 0.012}}
        cases = dict.fromkeys([each.case for each in hypotheses.HYPOTHESES[:4]], kinds)
        assert {each["verdict"] for each in hypotheses.tested({"completion": cases})} == {"holds"}
        first = hypotheses.HYPOTHESES[0]
        alone = {"completion": {first.case: {"right": {"value": -0.1, "interval95": [-0.2, 0], "p": 0.012}}}}
        assert [each["verdict"] for each in hypotheses.tested(alone)] == ["the opposite holds"]
        cases = cases | {first.case: {"right": {"value": 0.1, "interval95": [0, 0.2], "p": 0.04}}}
        verdicts = [each["verdict"] for each in hypotheses.tested({"completion": cases})]
        assert verdicts == [
            "holds" if each["p"] < 0.05 else "not shown" for each in hypotheses.tested({"completion": cases})
        ]
        assert len(verdicts) == 4


class TestWork:
    @pytest.fixture
    def wide(self):
        return plan(SETTINGS, Extent(100, 50, 2, 2), {"completion": ["vanilla"], "open": ["vanilla"]})

    def test_chunks_are_kept_and_shared(self, wide, tmp_path, monkeypatch):
        seen, chunks = [], store.Chunks(tmp_path, "model")
        monkeypatch.setattr(store, "decode", lambda *told: fake(seen)(*told[:5]))
        monkeypatch.setattr(Completion, "given", lambda *_: None)
        with store.claimed(chunks.path(wide.jobs[0])):
            assert store.work(None, wide.jobs, chunks) is (files.fcntl is None)  # another process has the first
        assert store.work(None, wide.jobs, chunks) and len(seen) == len(wide.jobs) == 2 + 2 * len(axes())
        assert {(n, seed) for _, n, seed in seen} == {(50, 0), (50, 50), (2, 0), (2, 2)}
        assert store.work(None, wide.jobs, chunks) and len(seen) == len(wide.jobs)
        pictures = chunks.all_of(wide.completed["vanilla"])
        assert len(pictures.images) == 100 and pictures.calls == 8 and pictures.seconds == pytest.approx(0.5)

    def test_a_chunk_that_was_cut_is_made_again(self, wide, tmp_path, monkeypatch):
        seen, chunks = [], store.Chunks(tmp_path, "model")
        monkeypatch.setattr(store, "decode", lambda *told: fake(seen)(*told[:5]))
        monkeypatch.setattr(Completion, "given", lambda *_: None)
        store.work(None, wide.jobs, chunks)
        seen.clear()
        file = chunks.path(wide.jobs[1])
        file.write_bytes(file.read_bytes()[:100])
        left = file.with_name(f".{file.name}.12345678.part")
        left.touch()
        assert chunks.all_of(wide.jobs[:2]) is None
        assert store.work(None, wide.jobs, store.Chunks(tmp_path, "model")) and len(seen) == 1
        assert len(chunks.all_of(wide.jobs[:2]).images) == 100 and not left.exists()

    def test_other_tokens_kept_or_captions_lie_elsewhere(self, tmp_path):
        chunks, case = store.Chunks(tmp_path, "model"), choices.choices()[0]
        suites = [
            Completion(BASE, 2),
            Completion(BASE, 3),
            Completion(BASE | {"steps": 9}, 2),
            Completion(BASE, 2, tuning=True),
        ]
        suites += [
            OpenCaptions(BASE, "place", 2),
            OpenCaptions(BASE, "place", 3),
            OpenCaptions(BASE, "place", 2, seed=1),
        ]
        assert len({chunks.path(store.Job(suite, case, 0)) for suite in suites}) == len(suites)
        names = [case.name for case in (*choices.completion_cases(), *choices.open_cases())]
        assert len({store.slug(name) for name in names}) == len(set(names))


def test_pictures_of_the_truth_are_valid_and_blank_ones_are_not(pipe):
    """Through the codec, on the axis whose pictures hold the most."""
    suite = OpenCaptions(BASE, "count", 2)
    job = store.Job(suite, store.CODEC, 0)
    found = Answers.read(suite.questions, store.draw(pipe, job))
    assert found.kinds.shape == (1, 2) and found.valid.any() and not found.blank.any()
    blank = store.Pictures(np.full((2, 128, 128, 3), 255, np.uint8), 1, 1, 0.0)
    assert not Answers.read(suite.questions, blank).valid.any() and Answers.read(suite.questions, blank).blank.all()
