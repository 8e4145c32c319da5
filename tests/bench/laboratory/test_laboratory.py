"""The laboratory bench: its cases, report and quick check."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench.laboratory import __main__ as command
from bench.laboratory import measuring, plots, quick, work
from bench.laboratory.choices import CHOICES, HALTON, VANILLA
from bench.laboratory.decoders import DECODERS, EIGHT, ONCE, RESCORED
from bench.laboratory.figures import p_of, ratio
from bench.laboratory.hypotheses import HYPOTHESES, Hypothesis, outcomes, untested
from bench.laboratory.plan import STUDIES, WEIGHTS, Case, pictures, plan
from bench.laboratory.report import MAPS, regimes, wanted
from bench.laboratory.settings import CLASSES, EXACT, FIELD, MODELS, NOISE, TREE, WEAK_FIELD, WORDS
from bench.laboratory.tables import PARTS
from bench.markdown import fill
from mgt_core.lab.truth import Estimate

FAKE = {"seconds": 0.5, "steps": 3, "passes": 3}


def fake(seen=None, noise=True):
    """In the place of `measure`: every figure is 0.2, give or take 0.01."""

    def measured(case, count, seed):
        if seen is not None:
            seen.append(case.name)
        rng = np.random.default_rng(seed)
        kinds = ("kl", "surprise", "diversity", "near", "far", "variation", "null_high")
        return FAKE | {"pictures": count, "figures": {k: [0.2 + 0.01 * rng.normal() * noise, 0.01] for k in kinds}}

    return measured


class TestCases:
    def test_every_hypothesis_is_of_cases_that_are_made(self):
        made = plan()
        assert len(made) > 300 and len(HYPOTHESES) > 40
        assert {side.name for h in HYPOTHESES for side in (h.ours, h.theirs) if side} <= made.keys()
        assert len({h.claim for h in HYPOTHESES}) == len(HYPOTHESES)

    def test_maps_are_of_cases_that_are_made(self):
        made = plan()
        for study, (model, _, base, rows) in MAPS.items():
            assert {
                Case(model, EXACT, row, budget).name
                for row in (base, *rows)
                for budget in (32 if model != FIELD else 9,)
            } <= made.keys()
            assert study in STUDIES and len(rows) > 8

    @pytest.mark.parametrize("name", CHOICES)
    def test_a_choice_makes_as_many_passes_as_it_says(self, name):
        """On the field, in a handful of pictures."""
        choice, budget = CHOICES[name], 9
        case = Case(FIELD, EXACT, name, budget)
        state, passes, seconds = measuring.decode(case, 4, 0)
        a, b = choice.passes
        assert passes == a * case.steps - b <= budget < a * (case.steps + 1) - b
        assert not state.masked.any() and seconds > 0

    @pytest.mark.parametrize("name", DECODERS)
    def test_a_decoder_makes_no_more_passes_than_it_says(self, name):
        choice, case = DECODERS[name], Case(FIELD, NOISE, name, 9)
        state, passes, _ = measuring.decode(case, 4, 0)
        a, b = choice.passes
        assert not state.masked.any() and 0 < passes <= a * case.steps - b <= 9
        assert choice.sampler.ends_early or passes == a * case.steps - b

    def test_passes_are_the_mean_over_pictures(self):
        """A cell at a time each makes one for every cell; with a bound that holds anything, one."""
        passes = {name: measuring.decode(Case(FIELD, EXACT, name, 9), 5, 0)[1] for name in (ONCE.name, EIGHT.name)}
        assert passes == {ONCE.name: 9, EIGHT.name: 1}

    def test_a_rescorer_of_a_noisy_model_has_noise_of_its_own(self):
        """And beside an exact one there is the same, which changes nothing."""
        tokens = {}
        for error in (EXACT, NOISE):
            made = [Case(FIELD, error, name, budget) for name, budget in ((RESCORED.name, 9), (VANILLA, 4))]
            tokens[error] = [measuring.decode(case, 200, 0)[0].tokens for case in made]
        assert (tokens[EXACT][0] == tokens[EXACT][1]).all() and (tokens[NOISE][0] != tokens[NOISE][1]).any()

    def test_a_guided_pass_counts_as_one_in_the_budget(self):
        guided = Case(FIELD, EXACT, VANILLA, 4, WEIGHTS[-1])
        assert guided.steps == 4 and measuring.decode(guided, 4, 0)[1] == 8

    @pytest.mark.parametrize("model", MODELS)
    def test_figures(self, model):
        """Of exact models in one and in few steps, against sums where grids can be listed."""
        found = measuring.measure(Case(model, EXACT, HALTON, 2), 200)
        figures = {name: Estimate(*own) for name, own in found["figures"].items()}
        assert {"kl", "surprise", "diversity", "near"} <= figures.keys() and found["passes"] == 2
        assert ("variation" in figures) == (model in (FIELD, WEAK_FIELD, WORDS))
        assert 0 < figures["kl"].value < 2 and all(math.isfinite(f.value) and f.error >= 0 for f in figures.values())

    def test_one_cell_a_step_is_exact(self):
        found = measuring.measure(Case(FIELD, EXACT, HALTON, 9), 200)["figures"]
        assert abs(found["kl"][0]) < 1e-5

    def test_only_orders_that_are_fixed_have_an_exact_kl(self):
        assert "kl" not in measuring.measure(Case(FIELD, EXACT, VANILLA, 3), 100)["figures"]


class TestFigures:
    def test_p_of(self):
        assert p_of(Estimate(2.0930, 1.0)) == pytest.approx(0.05, abs=1e-4)  # Student's, 19 degrees
        assert p_of(Estimate(0.0, 0.0)) == 1 and p_of(Estimate(0.1, 0.0)) == 0

    def test_ratio(self):
        found = ratio(Estimate(0.4, 0.004), Estimate(0.1, 0.001))
        assert math.exp(found.value) == pytest.approx(4) and found.error == pytest.approx(0.01 * math.sqrt(2))
        assert ratio(Estimate(0.4, 0.01), Estimate(0.01, 0.01)) is None

    def test_verdicts(self):
        left, right = Case(TREE, EXACT, HALTON, 8), Case(TREE, EXACT, HALTON, 16)

        def verdict(ours, theirs, **settings):
            cases = {left.name: {"figures": {"kl": ours}}, right.name: {"figures": {"kl": theirs}}}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "bench.laboratory.hypotheses.HYPOTHESES", [Hypothesis("it", "kl", left, right, **settings)]
                )
                (found,) = outcomes(cases)
            return found["verdict"]

        assert verdict([0.1, 0.01], [0.2, 0.01]) == "holds"
        assert verdict([0.1, 0.01], [0.2, 0.01], sign=1) == "the opposite holds"
        assert verdict([0.1, 0.1], [0.2, 0.1]) == "not shown"
        assert verdict([0.1, 0.001], [0.101, 0.001], within=0.01) == "holds"
        assert verdict([0.1, 0.01], [0.101, 0.01], within=0.01) == "not shown"

    def test_families_are_raised_each_by_itself(self):
        """The same claims, in one family and in two."""
        sides = [Case(TREE, EXACT, HALTON, steps) for steps in (8, 16, 32)]
        cases = {c.name: {"figures": {"kl": [k / 50, 0.01]}} for k, c in enumerate(sides)}
        both = [Hypothesis("near", "kl", sides[0], sides[1]), Hypothesis("far", "kl", sides[0], sides[2])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.laboratory.hypotheses.HYPOTHESES", both)
            together = [each["p"] for each in outcomes(cases)]
            patch.setattr("bench.laboratory.hypotheses.HYPOTHESES", [both[0], replace(both[1], family="later")])
            apart = [each["p"] for each in outcomes(cases)]
        assert together == [apart[0], 2 * apart[1]]

    def test_claims_about_a_bound_are_named(self):
        """And no claim is lost: each of cases that are made has an outcome or is among these."""
        cases = {name: FAKE | {"figures": {"surprise": [0.1, 0.1], "diversity": [0.1, 0.1]}} for name in plan()}
        assert {h.claim for h in HYPOTHESES if h.figure in ("kl", "variation")} == set(untested(cases))
        assert len(outcomes(cases)) + len(untested(cases)) == len(HYPOTHESES)

    def test_regimes_are_gains_on_the_base(self):
        base, other = (Case(FIELD, NOISE, name, 9) for name in (VANILLA, "momentum 0.5"))
        cases = {
            base.name: {"figures": {"variation": [0.3, 0.01]}},
            other.name: {"figures": {"variation": [0.1, 0.01]}},
        }
        told = regimes(cases, FIELD, "variation", VANILLA, ["momentum 0.5", "top-p 0.9"])["columns"]
        assert told["exact, 9"] == {} and told["noise, 9"].keys() == {"momentum 0.5"}
        own = told["noise, 9"]["momentum 0.5"]
        assert own["value"] == pytest.approx(0.2) and own["p_of_all"] < 1e-6


class TestWork:
    def test_what_is_kept_is_not_measured_again(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(work, "measure", fake(seen))
        store, cases = work.Store(tmp_path, 0), wanted(("guidance",))
        first = work.work(cases, store)
        assert len(seen) == len(cases) == len(first)
        store.path(next(iter(cases))).unlink()  # as if it had been stopped there
        assert work.work(cases, store, drawing=False) is None
        assert work.work(cases, store) == first and len(seen) == len(cases) + 1
        fewer = dict.fromkeys(cases, 3)
        assert all(found["pictures"] == 3 for found in work.work(fewer, store).values())

    @pytest.mark.parametrize("content", [b"", b'{"pictures": 3', b"[]", b'{"pictures": 3}'])
    def test_a_case_that_was_cut_is_measured_again(self, tmp_path, monkeypatch, content):
        seen = []
        monkeypatch.setattr(work, "measure", fake(seen))
        store, cases = work.Store(tmp_path, 0), wanted(("guidance",))
        first = work.work(cases, store)
        file = store.path(next(iter(cases)))
        file.write_bytes(content)
        left = file.with_name(f".{file.name}.12345678.part")
        left.touch()
        assert work.work(cases, work.Store(tmp_path, 0)) == first and len(seen) == len(cases) + 1
        assert not left.exists()

    def test_other_settings_have_another_folder(self, tmp_path, monkeypatch):
        before, changed = work.Store(tmp_path, 0), tmp_path / "settings.py"
        changed.write_text("STAY = (0.5,)")
        assert work.Store(tmp_path, 0).folder == before.folder != work.Store(tmp_path, 1).folder
        monkeypatch.setattr(work, "SETTING", [*work.SETTING[:-1], changed])
        assert work.Store(tmp_path, 0).folder != before.folder

    def test_some_studies_are_measured_without_a_report(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(work, "measure", fake())
        told = ["--work", str(tmp_path / "work"), "--into", str(tmp_path / "docs"), "--only", "guidance"]
        assert command.main(told) == 0 and not (tmp_path / "docs").exists()
        assert "15 cases of guidance" in capsys.readouterr().out

    def test_cases_draw_other_numbers(self):
        seeds = {work.seed_of(case, seed) for case in plan().values() for seed in (0, 1)}
        assert len(seeds) == 2 * len(plan()) and max(seeds) < 2**48


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The whole command on made-up figures: JSON, page and plots."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "measure", fake())
        patch.setattr(plots, "DPI", 40)
        assert command.main(["--work", str(folder / "work"), "--into", str(folder / "docs")]) == 0
        yield folder


class TestReport:
    def test_everything_is_written(self, run):
        docs = run / "docs"
        report = json.loads((docs / "laboratory.json").read_text())
        assert report["cases"].keys() == plan().keys() and len(report["hypotheses"]) == len(HYPOTHESES)
        page = (docs / "laboratory.md").read_text()
        assert page.count("<!-- generated:") == len(PARTS)
        for name in ("passes", "steps", "plane", *(study.replace(",", "").replace(" ", "_") for study in MAPS)):
            assert f"images/laboratory/{name}.webp" in page
            assert (docs / "images" / "laboratory" / f"{name}.webp").stat().st_size > 2000
        for before, line in zip(page.splitlines(), page.splitlines()[1:]):
            if before.startswith("|") and line.startswith("|"):
                assert line.count("|") == before.count("|"), line

    def test_text_by_hand_stays(self, run):
        report = json.loads((run / "docs" / "laboratory.json").read_text())
        page = "by hand\n<!-- generated: setup -->\nold\n<!-- end -->\nalso by hand\n"
        new = fill(page, PARTS, report)
        assert new.startswith("by hand\n") and new.endswith("also by hand\n") and "old" not in new
        assert fill(new, PARTS, report) == new

    def test_cases_that_are_lacking_join_the_others(self, run, monkeypatch, tmp_path):
        seen, study = [], {case.name for case in STUDIES["guidance"]()}
        published = json.loads((run / "docs" / "laboratory.json").read_text())
        whole = published["cases"]
        published["cases"] = {name: own for name, own in whole.items() if name not in study}
        kept = next(iter(published["cases"]))
        published["cases"][kept]["figures"]["surprise"] = [0.77, 0.01]
        (tmp_path / "cut.json").write_text(json.dumps(published))
        monkeypatch.setattr(work, "measure", fake(seen))
        monkeypatch.setattr(command, "draw_all", lambda *_: None)
        places = ["--against", str(tmp_path / "cut.json"), "--work", str(tmp_path / "work"), "--into", str(tmp_path)]
        assert command.main(["--add", *places]) == 0 and set(seen) == study
        found = json.loads((tmp_path / "laboratory.json").read_text())["cases"]
        assert list(found) == list(whole) and found[kept]["figures"]["surprise"] == [0.77, 0.01]
        assert all(found[name] == whole[name] for name in whole if name != kept)

    def test_again_from_what_is_kept(self, run, monkeypatch):
        monkeypatch.setattr(work, "measure", lambda *_: 1 / 0)
        monkeypatch.setattr(command, "draw_all", lambda *_: None)  # drawn before
        before = (run / "docs" / "laboratory.json").read_text()
        command.main(["--report", "--work", str(run / "work"), "--into", str(run / "docs")])
        assert (run / "docs" / "laboratory.json").read_text() == before


class TestQuick:
    def check(self, run, monkeypatch, change=lambda published: None):
        monkeypatch.setattr(work, "measure", fake())
        published = json.loads((run / "docs" / "laboratory.json").read_text())
        change(published)
        (run / "published.json").write_text(json.dumps(published))
        out = run / "quick.json"
        code = command.main(["--quick", "--against", str(run / "published.json"), "--json", str(out)])
        return code, json.loads(out.read_text())

    def test_a_faultless_report_holds(self, run, monkeypatch):
        code, found = self.check(run, monkeypatch)
        assert code == 0 and found["held"] and found["cases"].keys() == {case.name for case in quick.CASES}

    @pytest.mark.parametrize("figure", ["kl", "variation", "surprise"])
    def test_a_wrong_figure_is_caught(self, run, monkeypatch, figure, capsys):
        def change(published):
            published["cases"][quick.CASES[0].name]["figures"][figure][0] *= 1.5

        code, found = self.check(run, monkeypatch, change)
        assert code == 1 and not found["held"] and "DIFFERS" in capsys.readouterr().out

    def test_a_wrong_number_of_passes_is_caught(self, run, monkeypatch):
        def change(published):
            published["cases"][quick.CASES[1].name]["passes"] += 1

        assert self.check(run, monkeypatch, change)[0] == 1

    def test_another_file_is_told(self, tmp_path, capsys):
        (tmp_path / "other.json").write_text("{}")
        assert command.main(["--quick", "--against", str(tmp_path / "other.json")]) == 2
        assert "is no report of this bench" in capsys.readouterr().err


def test_pictures_of_a_case():
    assert pictures(Case(TREE, EXACT, HALTON, 256)) == 16 and pictures(Case(CLASSES, EXACT, HALTON, 32)) == 256


@pytest.mark.skipif(not (command.DOCS / "laboratory.json").is_file(), reason="made by the first whole run")
def test_the_published_report_fits_its_page():
    report = json.loads((command.DOCS / "laboratory.json").read_text())
    page = (command.DOCS / "laboratory.md").read_text()
    assert fill(page, PARTS, report) == page and report["cases"].keys() == plan().keys()
    assert quick.wanted(report).keys() == set(quick.CASES)
