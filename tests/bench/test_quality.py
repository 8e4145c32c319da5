"""The quality bench: statistics against known values, work that is resumed and shared, tables, the quick check."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from bench.quality import __main__ as command
from bench.quality import measuring, plots, quick, work
from bench.quality import report as reporting
from bench.quality.cases import SAME_COST, VANILLA, choices, steps_at, sweeps, twin
from bench.quality.decoding import Case, Decoded, decode
from bench.quality.measuring import Yardstick, against
from bench.quality.prompts import prompts, whole_rounds
from bench.quality.statistics import Mean, fisher_p, holm, sign_p, student_p, student_quantile, welch_p, win_rate
from bench.quality.tables import PARTS, fill
from bench.quality.work import Extent, Store, planned, twins
from recipe.compose import held_out
from recipe.evaluate import model_settings, share
from recipe.subjects import load_subjects

SETTINGS = {"steps": 24, "cfg": 2.0, "temperature": (0.5, 0.0), "schedule": "cosine"}
SMALL = Extent(3, 3)


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load("demo", dtype=torch.float32, device="cpu")


class TestStatistics:
    @pytest.mark.parametrize(
        ("t", "freedom", "p"),
        [(12.706, 1, 0.05), (2.228, 10, 0.05), (2.069, 23, 0.05), (3.768, 23, 0.001), (1.96, 1e5, 0.05), (0, 7, 1.0)],
    )
    def test_student(self, t, freedom, p):
        """Against printed tables."""
        assert student_p(t, freedom) == pytest.approx(p, rel=2e-3)
        assert student_p(-t, freedom) == student_p(t, freedom)
        if t:
            assert student_quantile(freedom, p) == pytest.approx(t, rel=2e-3)

    def test_mean(self):
        mean = Mean.of(np.array([1.0, 2, 3, 4, 5]))
        assert (mean.value, mean.count) == (3, 5) and mean.deviation == pytest.approx(math.sqrt(2.5))
        assert mean.interval == pytest.approx((3 - 2.776 * math.sqrt(0.5), 3 + 2.776 * math.sqrt(0.5)), rel=1e-3)

    @pytest.mark.parametrize(("wins", "losses", "p"), [(9, 1, 22 / 1024), (5, 5, 1.0), (0, 0, 1.0), (6, 0, 2 / 64)])
    def test_sign(self, wins, losses, p):
        assert sign_p(wins, losses) == pytest.approx(p) == sign_p(losses, wins)

    def test_fisher(self):
        """The lady tasting tea, and a table that R's fisher.test gives 0.04545 for."""
        assert fisher_p(3, 4, 1, 4) == pytest.approx(34 / 70)
        assert fisher_p(4, 4, 0, 4) == pytest.approx(2 / 70)
        assert fisher_p(0, 5, 5, 6) == pytest.approx(0.01515, rel=1e-3)

    def test_welch(self):
        """Welch's own example of unequal spreads: t = -2.7078, 26.5 degrees... as computed by hand below."""
        a, b = Mean(20.0, 4.0, 16), Mean(23.0, 2.0, 4)
        t, freedom = -3 / math.sqrt(1 + 1), (1 + 1) ** 2 / (1 / 15 + 1 / 3)
        assert welch_p(a, b) == pytest.approx(student_p(t, freedom)) == pytest.approx(0.0603, abs=5e-3)
        assert welch_p(a, a) == pytest.approx(1)
        assert welch_p(Mean(1, 0, 5), Mean(2, 0, 5)) == 0 and welch_p(Mean(1, 0, 5), Mean(1, 0, 5)) == 1

    def test_holm(self):
        """Holm's steps: times 4, 3, 2, 1 in order of size, never falling."""
        raised = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
        assert raised == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
    def test_win_rate(self, pairs):
        ours, theirs = (np.array(side, float) for side in zip(*pairs))
        one, other = win_rate(ours, theirs), win_rate(theirs, ours)
        assert one["share"] + other["share"] == pytest.approx(1, abs=2e-4) and one["p"] == other["p"]
        assert one["interval95"][0] - 1e-4 <= one["share"] <= one["interval95"][1] + 1e-4
        assert 0 <= one["interval95"][0] + 1e-9 and one["interval95"][1] <= 1
        assert one["wins"] == other["losses"]

    @given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
    def test_holm_only_raises_and_keeps_the_order(self, ps):
        raised = holm(ps)
        assert all(ps[name] <= raised[name] <= 1 for name in ps)
        assert all(raised[a] <= raised[b] for a in ps for b in ps if ps[a] <= ps[b])

    @given(st.integers(0, 12), st.integers(0, 12))
    def test_fisher_is_symmetric(self, a, b):
        assert fisher_p(a, 12, b, 12) == pytest.approx(fisher_p(b, 12, a, 12))
        assert 0 < fisher_p(a, 12, b, 12) <= 1 + 1e-9


class TestPlan:
    def test_prompts_are_one_list_of_held_out_ones(self):
        scenes = prompts(12)
        assert [len(scene.items) for scene in scenes] == [1, 1, 2] * 4
        assert prompts(6) == scenes[:6] and prompts(6, start=6) == scenes[6:]
        names = [subject.name for subject in load_subjects()]
        assert all(held_out(names[item.subject], scene.colour) for scene in scenes for item in scene.items)
        assert [whole_rounds(n) for n in (1, 3, 4)] == [3, 3, 6]

    def test_vanilla_is_a_point_of_every_sweep(self):
        for sweep in sweeps(SETTINGS):
            assert [case.name for case in sweep.points.values()].count(VANILLA) == 1, sweep.name
        odd = sweeps(SETTINGS | {"steps": 20, "temperature": (0.7, 0.1), "cfg": 2.5, "schedule": "root"})
        assert [v for sweep in odd for v, case in sweep.points.items() if case.name == VANILLA] == [
            "root",
            20,
            0.7,
            2.5,
            0.0,
            0.0,
            "none",
            0.0,
            "float",
        ]

    def test_names_are_of_one_case_and_one_file(self, tmp_path):
        plan = planned(SETTINGS, SMALL, {})
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        assert len({store.path(case) for case, _ in plan.values()}) == len(plan)
        for sweep in sweeps(SETTINGS):
            for case in sweep.points.values():
                assert plan[case.name][0].settings.keys() == case.settings.keys()

    @given(st.integers(1, 400))
    def test_equal_passes_are_equal(self, passes):
        steps = steps_at(passes, 48, SETTINGS)
        assert steps == 1 or abs(2 * steps / passes - 1) <= SAME_COST + 1.06 / passes

    def test_twins(self):
        found = twins(SETTINGS, {VANILLA: 48, "Z-Sampling": 94, "root schedule": 48, "guidance reuse, every 4": 30})
        assert {name: case.settings for name, case in found.items()} == {
            "Z-Sampling": {"steps": 48},
            "guidance reuse, every 4": {"steps": 15},
        }
        assert twin(48, 48, SETTINGS).name == VANILLA

    def test_a_point_that_serves_as_a_twin_gets_all_prompts(self):
        extent = Extent(12, 6)
        assert planned(SETTINGS, extent, {})["vanilla, 48 steps"][1] == 6
        plan = planned(SETTINGS, extent, {VANILLA: 48, "Z-Sampling": 94})
        assert plan["vanilla, 48 steps"][1] == 12 and plan["vanilla, 64 steps"][1] == 6

    def test_choices_cover_what_the_pack_offers(self):
        cases = [case for case, _ in planned(SETTINGS, SMALL, {}).values()]
        kinds = {type(case.settings.get("sampler")).__name__ for case in cases}
        assert {"Momentum", "Ordered", "ZSampling", "MaskedZSampling"} <= kinds
        assert {case.scheme for case in cases} - {None} == set(mgt_core.list_quantizations())
        assert len(choices(SETTINGS)) > 20


def fake(seen=None, calls=4):
    """In the place of `decode`: pictures of noise by seed, quickly."""

    def decoded(pipe, case, scenes, settings, seed):
        if seen is not None:
            seen.append((case.name, len(scenes), seed))
        draws = (np.random.default_rng((seed + i, len(case.name))) for i in range(len(scenes)))
        pictures = [rng.random((16, 16, 3), np.float32) for rng in draws]
        tokens = torch.zeros(len(scenes), 2, 2, dtype=torch.long)
        steps = settings["steps"] if "steps" not in case.settings else case.settings["steps"]
        return Decoded(np.stack(pictures), tokens, steps, 2 * steps, 0.5 * len(scenes))

    return decoded


class TestWork:
    def test_a_case_that_is_kept_is_not_made_again(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(work, "decode", fake(seen))
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        only = {VANILLA, "root schedule"}
        assert set(work.work(None, SETTINGS, SMALL, store, only=only)) == only  # in the plan's order
        assert seen == [(name, 3, seed) for name in (VANILLA, "root schedule") for seed in (0, work.FAR)]
        store.path(Case("root schedule")).unlink()  # as if it had been stopped there
        work.work(None, SETTINGS, SMALL, store, only=only)
        assert [name for name, *_ in seen[4:]] == ["root schedule"] * 2
        work.work(None, SETTINGS, Extent(6, 6), store, only={VANILLA})
        assert seen[6:] == [(VANILLA, 6, 0), (VANILLA, 3, work.FAR)]
        assert len(store.read(Case(VANILLA), 3).images) == 3 and store.read(Case(VANILLA), 9) is None

    def test_other_settings_or_another_model_lie_elsewhere(self, tmp_path):
        folders = {
            Store(tmp_path, *told).folder
            for told in (("a", SETTINGS, SMALL), ("b", SETTINGS, SMALL), ("a", SETTINGS | {"steps": 3}, SMALL))
        }
        assert len(folders | {Store(tmp_path, "a", SETTINGS, replace(SMALL, start=3)).folder}) == 4

    @pytest.mark.skipif(work.fcntl is None, reason="one process at a time on Windows")
    def test_what_another_process_makes_is_left_to_it(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(work, "decode", fake(seen))
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        only = {VANILLA, "root schedule"}
        with store.claim(Case(VANILLA)) as mine:
            assert mine
            assert work.work(None, SETTINGS, SMALL, store, only=only) is None
            assert {name for name, *_ in seen} == {"root schedule"}
        assert set(work.work(None, SETTINGS, SMALL, store, only=only)) == only

    def test_a_write_is_whole_or_not_at_all(self, tmp_path, monkeypatch):
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        monkeypatch.setattr(work.np, "savez_compressed", lambda stream, **_: stream.write(b"PK") and 1 / 0)
        pictures = work.Pictures(np.zeros((3, 2, 2, 3), np.uint8), np.zeros((0,)), np.zeros((3, 1)), 1, 2, 0.1)
        with pytest.raises(ZeroDivisionError):
            store.write(Case(VANILLA), pictures)
        assert store.read(Case(VANILLA), 3) is None

    def test_pictures_have_the_seed_of_their_place(self, pipe):
        """Prompt i is the same picture whether the run begins with it or earlier, and another one with another seed."""
        settings = model_settings(pipe) | {"steps": 2}
        case, extent = Case(VANILLA), Extent(6, 6)
        whole = work.draw(pipe, case, settings, extent, 6)
        later = work.draw(pipe, case, settings, replace(extent, start=3), 3)
        assert (whole.tokens[3:] == later.tokens).all()
        assert whole.images.dtype == np.uint8 and (whole.images[:3] != whole.again).any((1, 2, 3)).all()
        assert (whole.calls, whole.passes) == (2, 4) and whole.seconds > 0

    def test_a_sampler_without_temperature_and_a_packed_network(self, pipe, caplog):
        settings = model_settings(pipe) | {"steps": 2}
        for case in (Case("halton", settings={"sampler": mgt_core.Ordered()}), Case("packed", scheme="w8a16")):
            assert decode(pipe, case, prompts(3), settings, 0).passes == 4
        assert "no meaning" not in caplog.text and pipe.model.quantization is None


def fake_score(scenes, images):
    """In the place of the judge, who takes long to get ready: right is what is bright in its first pixel."""

    def verdict(scene, image):
        return SimpleNamespace(colour=scene.colour, drawn=lambda scene: bool(image[0, 0, 0] > 0.2))

    verdicts = [verdict(*both) for both in zip(scenes, images)]
    shares = {"background": share(len(scenes), len(scenes))}
    for name, count in (("object", 1), ("layout", 2)):
        drawn = [v.drawn(s) for v, s in zip(verdicts, scenes) if len(s.items) == count]
        shares[name] = share(sum(drawn), len(drawn))
    return shares, verdicts


@pytest.fixture(scope="module")
def yard():
    """Prompts on one background, which the judge is sooner ready for."""
    scenes = [scene for scene in prompts(120) if scene.colour == "gray"]
    return Yardstick(scenes[:12])


class TestMeasuring:
    def test_the_compositions_themselves_are_right_and_at_no_distance(self, yard):
        measured = yard.measure(yard.real, yard.real[:3])
        figures = yard.figures(measured)
        assert measured.right.all() and figures["layout"]["of"] + figures["object"]["of"] == len(yard.scenes)
        assert min(figures["layout"]["of"], figures["object"]["of"]) > 1
        assert figures["distance"]["value"] == figures["diversity"]["value"] == 0
        assert figures["frechet"]["value"] == pytest.approx(0, abs=1e-6)

    def test_worse_pictures_lose(self, yard):
        grey = yard.measure(np.full_like(yard.real, 0.5))
        faint = yard.measure(0.8 * yard.real + 0.1)
        found = against(faint, grey)
        assert found["win_rate"]["share"] == 1 and found["win_rate"]["p"] == pytest.approx(2 / 2 ** len(yard.scenes))
        assert found["distance_change"]["value"] < 0
        assert found["gained"] - found["lost"] == faint.right.sum() - grey.right.sum()
        assert against(grey, grey)["win_rate"]["share"] == 0.5  # ties count half
        assert against(yard.measure(yard.real[:6]), grey)["win_rate"]["of"] == 6  # on the prompts that both have


FEW = ["--prompts", "24", "--sweep-prompts", "6", "--only", *quick.CASES, "Z-Sampling on half the steps"]
FEW += ["vanilla, 4 steps", "vanilla, 12 steps", "temperature 1", "W4A8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, pipe):
    """The whole command on noise for pictures: JSON, page and plots."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "docs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "decode", fake())
        patch.setattr(command, "decode", fake())
        patch.setattr(plots, "DPI", 50)
        patch.setattr(measuring, "score", fake_score)
        patch.setattr(reporting, "reconstruct", lambda pipe, images: 0.9 * images)
        patch.setattr(mgt_core, "load", lambda *_, **__: pipe)
        assert command.main([*FEW, "--work", str(folder / "work"), "--into", str(folder / "docs")]) == 0
        yield folder


class TestReport:
    def test_everything_is_written(self, run):
        report = json.loads((run / "docs" / "quality.json").read_text())
        plan = planned(report["settings"], Extent(24, 6), {name: c["passes"] for name, c in report["cases"].items()})
        plan = {name: entry for name, entry in plan.items() if name in FEW}
        assert report["cases"].keys() == plan.keys() and len(plan) == 10
        assert all(report["cases"][name]["prompts"] == count for name, (_, count) in plan.items())
        zigzag = report["cases"]["Z-Sampling on half the steps"]
        assert zigzag["against_equal_passes"]["case"] == "vanilla, 12 steps"
        assert zigzag["against_equal_passes"]["win_rate"]["of"] == 24
        assert set(report["sweeps"]) == {"schedule", "steps", "temperature", "quantization"}
        page = (run / "docs" / "quality.md").read_text()
        assert page.count("<!-- generated:") == len(PARTS) and "| Z-Sampling |" in page
        for place in [*(f"{name}.png" for name in (*report["sweeps"], "win_rates")), "choices.webp"]:
            assert f"images/quality/{place}" in page
            assert (run / "docs" / "images" / "quality" / place).stat().st_size > 3000

    def test_rows_of_a_table_are_as_wide_as_its_head(self, run):
        lines = (run / "docs" / "quality.md").read_text().splitlines()
        for before, line in zip(lines, lines[1:]):
            if before.startswith("|") and line.startswith("|"):
                assert line.count("|") == before.count("|"), line

    def test_text_by_hand_stays(self, run):
        report = json.loads((run / "docs" / "quality.json").read_text())
        page = "by hand\n<!-- generated: setup -->\nold\n<!-- end -->\nalso by hand\n"
        new = fill(page, report)
        assert new.startswith("by hand\n") and new.endswith("also by hand\n") and "old" not in new
        assert fill(new, report) == new

    def test_again_from_what_is_kept(self, run, monkeypatch):
        monkeypatch.setattr(work, "decode", lambda *_: 1 / 0)
        monkeypatch.setattr(command, "draw_all", lambda *_: None)  # drawn before
        before = (run / "docs" / "quality.json").read_text()
        command.main(["--report", *FEW, "--work", str(run / "work"), "--into", str(run / "docs")])
        assert (run / "docs" / "quality.json").read_text() == before


class TestQuick:
    def check(self, run, monkeypatch, published, drawn=None):
        monkeypatch.setattr(work, "decode", drawn or fake())
        file = run / "published.json"
        file.write_text(json.dumps(published))
        out = run / "quick.json"
        code = command.main(["--quick", "--against", str(file), "--json", str(out)])
        return code, json.loads(out.read_text())

    @pytest.fixture
    def published(self, run):
        return json.loads((run / "docs" / "quality.json").read_text())

    def test_a_faultless_report_holds_on_new_prompts(self, run, monkeypatch, published):
        seen = []
        code, found = self.check(run, monkeypatch, published, fake(seen))
        assert code == 0 and found["held"] and found["cases"].keys() == set(quick.CASES)
        assert found["start"] == published["prompts"] and min(seed for *_, seed in seen) >= published["prompts"]

    @pytest.mark.parametrize("figure", ["distance", "sharpness"])
    def test_a_wrong_mean_is_caught(self, run, monkeypatch, published, figure, capsys):
        published["cases"][VANILLA][figure]["value"] *= 1.5
        code, found = self.check(run, monkeypatch, published)
        assert code == 1 and not found["held"] and "DIFFERS" in capsys.readouterr().out

    def test_a_wrong_share_is_caught(self, run, monkeypatch, published):
        published["cases"][VANILLA]["object"] |= {"hits": 0, "of": 16, "share": 0.0}
        assert self.check(run, monkeypatch, published)[0] == 1

    def test_a_wrong_number_of_passes_is_caught(self, run, monkeypatch, published):
        published["cases"]["Z-Sampling"]["passes"] += 1
        assert self.check(run, monkeypatch, published)[0] == 1

    def test_another_model_is_told(self, run, published, capsys):
        file = run / "other.json"
        file.write_text("{}")
        assert command.main(["--quick", "--against", str(file)]) == 2
        assert "is no report of this bench" in capsys.readouterr().err
        file.write_text(json.dumps(published | {"model": "another"}))
        assert command.main(["--quick", "--against", str(file)]) == 2
        assert "is of the model another" in capsys.readouterr().err

    def test_chance_alone_seldom_fails_it(self):
        """100 checks of two samples of one kind: about 1 fails."""
        rng = np.random.default_rng(0)

        def figures(count):
            hits = {kind: int(rng.binomial(count, 0.9)) for kind in quick.SHARES}
            shares = {kind: {"hits": h, "of": count, "share": h / count} for kind, h in hits.items()}
            means = {k: vars(Mean.of(rng.normal(2, 0.6, count))) for k in quick.MEANS}
            wins = int(rng.binomial(count, 0.6))
            rate = {"wins": wins, "losses": count - wins, "share": wins / count}
            return {**shares, **means, "calls": 1, "passes": 2, "against_vanilla": {"win_rate": rate}}

        bad = 0
        for _ in range(100):
            sides = ({"cases": {name: figures(count) for name in quick.CASES}} for count in (48, 18))
            bad += bool(quick.failed(quick.compare(*sides)))
        assert bad <= 5


@pytest.mark.skipif(not (command.DOCS / "quality.md").is_file(), reason="made by the first whole run")
def test_the_published_report_fits_its_page():
    report = json.loads((command.DOCS / "quality.json").read_text())
    page = (command.DOCS / "quality.md").read_text()
    assert fill(page, report) == page
    assert set(quick.cases(report)) == set(quick.CASES)
