"""The report of the quality bench and its quick check."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import mgt_core
from bench import regimes
from bench.checks import failed
from bench.markdown import fill
from bench.quality import __main__ as command
from bench.quality import adding, measuring, plots, quick, work
from bench.quality import report as reporting
from bench.quality.cases import VANILLA, choices
from bench.quality.statistics import Mean
from bench.quality.suites import figures as suite_figures
from bench.quality.suites import plan as suite_plan
from bench.quality.suites import plots as suite_plots
from bench.quality.suites import store
from bench.quality.suites.completion import Completion
from bench.quality.suites.questions import UNPROMPTED
from bench.quality.tables import PARTS
from bench.quality.work import Extent, planned
from recipe.judge.placements import Placed
from recipe.judge.scores import share
from support.quality import fake


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


def fake_drawings(images):
    """In the place of readings of scenes: something drawn on white where the first pixel is bright."""
    return [Placed(1.0, 0.1, False, bool(image[0, 0, 0] > 0.5), "white", frozenset()) for image in images]


def fake_verdicts(images):
    return [
        SimpleNamespace(colour="white", residual=0.2, good=True, drawn=lambda scene, own=image: own[0, 0, 0] > 0.4)
        for image in images
    ]


AXES = ["place", UNPROMPTED]
NAMED = [*quick.CASES, "Z-Sampling on half the steps", "vanilla, 4 steps", "vanilla, 12 steps"]
NAMED += ["hotter confidence, 8 → 0", "W4A8"]
FEW = ["--prompts", "24", "--sweep-prompts", "6"]
FEW += ["--completion", "100", "--others", "50", "--captions", "3", "--rounds", "2"]


def few_named(*told, **more):
    """In the place of `work`: of the cases of named prompts only a few are made."""
    return work.work(*told[:5], *(told[5:] or [NAMED]), **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory, pipe):
    """The whole command on noise for pictures: JSON, page and plots."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "docs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "decode", fake())
        patch.setattr(command, "decode", fake())
        patch.setattr(command, "work", few_named)
        for module in (plots, suite_plots, regimes):
            patch.setattr(module, "DPI", 50)
        patch.setattr(store, "decode", lambda *told: fake()(*told[:5]))
        patch.setattr(store, "reconstruct", lambda pipe, images: 0.9 * images[:, ::8, ::8])
        patch.setattr(suite_plan, "axes", lambda: AXES)
        patch.setattr(Completion, "given", lambda *_: None)
        patch.setattr(suite_figures, "judge", fake_verdicts)
        patch.setattr(suite_figures, "read_scenes", fake_drawings)
        patch.setattr(measuring, "score", fake_score)
        patch.setattr(reporting, "reconstruct", lambda pipe, images: 0.9 * images)
        patch.setattr(mgt_core, "load", lambda *_, **__: pipe)
        assert command.main([*FEW, "--work", str(folder / "work"), "--into", str(folder / "docs")]) == 0
        yield folder


class TestReport:
    def test_everything_is_written(self, run):
        report = json.loads((run / "docs" / "quality.json").read_text())
        plan = planned(report["settings"], Extent(24, 6), {name: c["passes"] for name, c in report["cases"].items()})
        plan = {name: entry for name, entry in plan.items() if name in NAMED}
        assert report["cases"].keys() == plan.keys() and len(plan) == 8
        assert all(report["cases"][name]["prompts"] == count for name, (_, count) in plan.items())
        zigzag = report["cases"]["Z-Sampling on half the steps"]
        assert zigzag["against_equal_passes"]["case"] == "vanilla, 12 steps"
        assert zigzag["against_equal_passes"]["win_rate"]["of"] == 24
        assert set(report["sweeps"]) == {"steps", "quantization"}
        page = (run / "docs" / "quality.md").read_text()
        assert page.count("<!-- generated:") == len(PARTS) and "| Z-Sampling on half the steps |" in page
        for place in [
            *(f"{n}.webp" for n in (*report["sweeps"], "win_rates", "tradeoff")),
            "regimes.webp",
            "choices.webp",
        ]:
            assert f"images/quality/{place}" in page
            assert (run / "docs" / "images" / "quality" / place).stat().st_size > 3000

    def test_the_map_has_every_choice_in_every_regime(self, run):
        told = json.loads((run / "docs" / "quality.json").read_text())["regimes"]
        assert len(told["columns"]) == 3 + 2 * (1 + len(AXES)) and len(told["rows"]) > 14
        assert set(told["columns"]["all, valid"]) | set(told["columns"]["completion, right"]) == set(told["rows"])
        assert "hotter confidence, 8 → 0" in told["columns"]["named prompts"]
        assert all(own["p"] <= own["p_of_all"] for column in told["columns"].values() for own in column.values())

    def test_rows_of_a_table_are_as_wide_as_its_head(self, run):
        lines = (run / "docs" / "quality.md").read_text().splitlines()
        for before, line in zip(lines, lines[1:]):
            if before.startswith("|") and line.startswith("|"):
                assert line.count("|") == before.count("|"), line

    def test_text_by_hand_stays(self, run):
        report = json.loads((run / "docs" / "quality.json").read_text())
        page = "by hand\n<!-- generated: setup -->\nold\n<!-- end -->\nalso by hand\n"
        new = fill(page, PARTS, report)
        assert new.startswith("by hand\n") and new.endswith("also by hand\n") and "old" not in new
        assert fill(new, PARTS, report) == new

    def test_again_from_what_is_kept(self, run, monkeypatch):
        monkeypatch.setattr(work, "decode", lambda *_: 1 / 0)
        monkeypatch.setattr(command, "work", few_named)
        monkeypatch.setattr(command, "draw_all", lambda *_: None)  # drawn before
        before = (run / "docs" / "quality.json").read_text()
        command.main(["--report", *FEW, "--work", str(run / "work"), "--into", str(run / "docs")])
        assert (run / "docs" / "quality.json").read_text() == before


class TestAdding:
    """What a published report lacks is drawn and joins it; vanilla is drawn beside it."""

    TWIN, CHOICE, SUITE = "vanilla, 12 steps", "Z-Sampling on half the steps", "masked Z-Sampling"

    def add(self, run, monkeypatch, folder, change=lambda cut: None):
        monkeypatch.setattr(adding, "choices", lambda told: [case for case in choices(told) if case.name in NAMED])
        cut = json.loads((run / "docs" / "quality.json").read_text())
        cut["choices"].remove(self.CHOICE)
        suites = (cut["suites"]["completion"], *cut["suites"]["open"].values())
        columns = cut["regimes"]["columns"].values()
        for rows, names in ((cut["cases"], (self.CHOICE, self.TWIN)), *((rows, [self.SUITE]) for rows in suites)):
            for name in names:
                del rows[name]
        for rows in columns:
            rows.pop(self.SUITE, None)
        cut["regimes"]["rows"].remove(self.SUITE)
        change(cut)
        (folder / "docs").mkdir()
        (folder / "cut.json").write_text(json.dumps(cut))
        places = ["--against", str(folder / "cut.json"), "--work", str(folder / "work"), "--into", str(folder / "docs")]
        return command.main(["--add", *places]), cut

    def test_rows_that_are_lacking_come_out_as_in_a_whole_run(self, run, monkeypatch, tmp_path):
        code, cut = self.add(run, monkeypatch, tmp_path)
        whole, found = (json.loads((path / "docs" / "quality.json").read_text()) for path in (run, tmp_path))
        assert code == 0 and found["cases"].keys() == whole["cases"].keys()
        assert found["choices"] == [*cut["choices"], self.CHOICE] and set(found["choices"]) == set(whole["choices"])
        raised = found["cases"][self.CHOICE]["against_vanilla"]["win_rate"].pop("p_of_all")
        assert raised <= whole["cases"][self.CHOICE]["against_vanilla"]["win_rate"].pop("p_of_all")
        for kind in ("distance", "against_vanilla", "passes"):
            assert found["cases"][self.CHOICE][kind] == whole["cases"][self.CHOICE][kind]
        for part in ("completion", "open"):
            assert found["suites"][part].keys() == whole["suites"][part].keys()
        own = found["suites"]["completion"]
        assert own == whole["suites"]["completion"] and list(own)[-1] == store.CODEC.name
        assert found["suites"]["open"] == whole["suites"]["open"]
        assert set(found["regimes"]["rows"]) == set(whole["regimes"]["rows"])
        assert self.SUITE in found["regimes"]["columns"]["all, valid"]
        page = (tmp_path / "docs" / "quality.md").read_text()
        assert f"| {self.CHOICE} |" in page and f"| {self.SUITE} |" in page

    def test_some_of_the_rows_can_be_left_to_later(self, run, monkeypatch, tmp_path):
        published = json.loads((run / "docs" / "quality.json").read_text())
        monkeypatch.setattr(adding, "choices", choices)
        del published["suites"]["completion"][self.SUITE]
        assert self.CHOICE not in adding.lacking(published) and adding.lacking(published, ["ReMDM"]) == ["ReMDM"]
        assert adding.lacking_suites(published, [self.SUITE]) == {
            "completion": [VANILLA, self.SUITE],
            "open": [VANILLA],
        }

    def test_what_was_published_stays(self, run, monkeypatch, tmp_path):
        def change(cut):
            cut["cases"]["vanilla, 4 steps"]["distance"]["value"] = 77.0
            cut["suites"]["completion"]["top-p 0.9"]["right"]["share"] = 0.99

        self.add(run, monkeypatch, tmp_path, change)
        found = json.loads((tmp_path / "docs" / "quality.json").read_text())
        assert found["cases"]["vanilla, 4 steps"]["distance"]["value"] == 77
        assert found["suites"]["completion"]["top-p 0.9"]["right"]["share"] == 0.99

    def test_rows_do_not_join_another_vanilla(self, run, monkeypatch, tmp_path):
        def change(cut):
            cut["cases"][VANILLA]["distance"]["value"] *= 1.2

        with pytest.raises(SystemExit, match="vanilla draws other pictures here .*distance differ"):
            self.add(run, monkeypatch, tmp_path, change)


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
        published["cases"][VANILLA]["object"] |= {"hits": 0, "of": 60, "share": 0.0}
        assert self.check(run, monkeypatch, published)[0] == 1

    def test_a_wrong_share_of_a_suite_is_caught(self, run, monkeypatch, published):
        published["suites"]["completion"][VANILLA]["right_by_subject"]["value"] += 0.9
        assert self.check(run, monkeypatch, published)[0] == 1

    def test_a_wrong_number_of_passes_is_caught(self, run, monkeypatch, published):
        published["cases"]["entropy temperature"]["passes"] += 1
        assert self.check(run, monkeypatch, published)[0] == 1

    def test_some_cases_are_made_without_a_report(self, run, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(work, "decode", fake())
        monkeypatch.setattr(command, "decode", fake())
        monkeypatch.setattr(command, "draw_suites", lambda *_: 1 / 0)
        told = ["--work", str(tmp_path / "work"), "--into", str(tmp_path / "docs"), "--only", "masked Z-Sampling"]
        assert command.main([*told, "--prompts", "6"]) == 0 and not (tmp_path / "docs").exists()
        assert "made: masked Z-Sampling; the report is of everything" in capsys.readouterr().out

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

        def suites(count, captions):
            right = vars(Mean.of(rng.binomial(4, 0.55, count // 4) / 4))
            completed = {"passes": 8, "right": {}, "right_by_subject": right}
            valid = {"valid_by_caption": vars(Mean.of(rng.binomial(captions, 0.8, 6) / captions))}
            opened = {axis: dict.fromkeys(quick.SUITES["open"], valid) for axis in AXES}
            return {"completion": dict.fromkeys(quick.SUITES["completion"], completed), "open": opened}

        bad = 0
        for _ in range(100):
            sides = (
                {"cases": {name: figures(count) for name in quick.CASES}, "suites": suites(20 * count, count // 8)}
                for count in (48, 18)
            )
            bad += bool(failed(quick.compare(*sides)))
        assert bad <= 5


@pytest.mark.skipif(not (command.DOCS / "quality.md").is_file(), reason="made by the first whole run")
def test_the_published_report_fits_its_page():
    report = json.loads((command.DOCS / "quality.json").read_text())
    page = (command.DOCS / "quality.md").read_text()
    assert fill(page, PARTS, report) == page
    assert set(quick.cases(report)) == set(quick.CASES)
