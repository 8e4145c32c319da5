"""What is made of a report: the aims, the table, the page."""

import copy
import json

import pytest

from bench.device.__main__ import main
from bench.device.aims import aims, costs, shares
from bench.device.page import CARDS, NOTHING, PAGE, cards, of_a_card, write
from bench.device.table import table


def row(seconds, exact=False, approximate=False, **more):
    return {
        "row": {"parts": [], "scheme": None, "exact": exact, "approximate": approximate},
        "batch": 1,
        "steps": 64,
        "seconds": seconds + 0.2,
        "sample_seconds": seconds,
        "first_seconds": 2 * seconds,
        "peak_bytes": 2**30,
        "weight_bytes": 2**31,
        **more,
    }


def done(**figures):
    return {"status": "done", "figures": figures, "seconds": 1.0}


SAME = {"draws": 9, "choices": 9, "differing": 0, "gap": 0.0, "logits_error": 1e-6, "reason": "", "equal": 1.0}
SAMPLE = {
    "bench": "device",
    "tiny": False,
    "minutes": 8,
    "size": 1024,
    "steps": 64,
    "cfg": 9.0,
    "dtype": "bfloat16",
    "seconds": 400.0,
    "parts": {
        "machine": {
            "hardware": done(gpu="A card", torch="2.11", cpu="a processor", threads=8),
            "matrix product": done(tflop_a_second=750.0, side=8192),
            "copy": done(bytes_a_second=4.2e12, bytes=2**30),
            "guided forward": done(tflop=3.055, seconds=0.006, bound_seconds=0.005, product_tflop_a_second=600.0),
            "comfy-kitchen": done(comfy_kitchen=None),
        },
        "suite": {
            "meissonic: logits": done(verdict="same", error=1e-6, near=1e-4),
            "meissonic: a": done(verdict="near ties", **SAME | {"differing": 1, "gap": 2e-9}),
            "meissonic: b": done(verdict="differs", **SAME | {"reason": "draws of event 3 differ by 0.2"}),
            "meissonic: w4a8": done(verdict="differs", error=None, near=0.05),
        },
        "runs": {
            "exact@1": done(**row(0.9, exact=True)),
            "a step of exact@1: kernels": done(kernels_a_step=900.0, launches_a_step=950.0),
            "a step of exact@1: host": done(host_seconds_a_step=0.011),
            "a step of exact@1: arithmetic": done(flop_a_step=3.0e12),
            "a step of exact, graphs@1: tokens": done(tokens_as_without_graphs=1.0),
            "exact, graphs@1": done(**row(0.5, exact=True)),
            "together, graphs@1": done(**row(0.3, approximate=True)),
            "w4a8@1": done(**row(0.8)),
            "compile@1": {"status": "broken", "error": "it took longer than 240 s", "seconds": 240.0},
            "exact@4": done(**row(2.0, exact=True) | {"batch": 4}),
        },
        "original": {"original pipeline": {"status": "left out", "reason": "no checkout was given"}},
        "budget": {"8 GB, w4a8": done(peak_bytes=int(2.1e9), weight_bytes=2**29, limit_bytes=None, seconds=1.5)},
        "step": {
            "profile, exact": done(
                seconds=0.011,
                kinds=1,
                calls=9,
                entries=[{"name": "void kernel<a|b>", "calls": 9, "seconds": 0.011, "share": 1.0}],
            )
        },
    },
}


@pytest.fixture
def report():
    return copy.deepcopy(SAMPLE)


def test_aims_are_met_missed_or_not_measured(report):
    found = {aim["what"]: (aim["verdict"], aim["by"]) for aim in aims(report)}
    assert found == {
        "exact, 64 steps at 1024²": ("met", "exact, graphs@1"),
        "everything approximate": ("missed", "together, graphs@1"),
        "whole run with text and decode": ("met", "exact, graphs@1"),
        "over the original pipeline": ("not measured", ""),
        "peak with W4A8": ("met", "8 GB, w4a8"),
        "W4A8's time over bfloat16's": ("met", "w4a8@1 over exact@1"),
    }
    report["parts"]["original"]["original pipeline"] = done(graphs_speed=2.9, exact_speed=2.0, exact_sample_speed=9.0)
    assert next(aim for aim in aims(report) if aim["least"])["measured"] == 2.9
    assert {aim["verdict"] for aim in aims(report | {"tiny": True})} == {"not measured"}
    assert {aim["verdict"] for aim in aims({"parts": {}})} == {"not measured"}


def test_the_table_holds_what_is_there(report):
    text = table(report)
    assert max(map(len, text.splitlines())) < 260
    wanted = ("A card, torch 2.11", "exact, graphs@1", "missed", "1 within 2e-09 of a border", "not finite", "240 s")
    for words in wanted:
        assert words in text
    assert "exact@1             1.1" in text and "950" in text and "0.28" in text and "100 %" in text
    assert table({"parts": {}})  # a run that was ended before it began


def test_costs_of_a_step_are_what_was_measured_of_them(report):
    """4 ms of arithmetic in a step of 14; what was not measured is left out."""
    found = costs(report, "exact@1")
    assert found["roofline_share"] == pytest.approx(0.004 / (0.9 / 64)) and found["kernels_a_step"] == 900
    assert costs(report, "exact, graphs@1") == {"tokens_as_without_graphs": 1.0}
    report["parts"]["machine"]["copy"] = {"status": "failed", "error": "any"}
    assert "roofline_share" not in costs(report, "exact@1") and costs(report, "w4a8@1") == {}
    assert shares(1e9, row(64.0), 750.0, 2**31)["roofline_share"] == pytest.approx(1)  # bound by its weights


def test_the_page_of_a_card(report, tmp_path):
    file, page = tmp_path / "a_card.json", tmp_path / "device.md"
    file.write_text(json.dumps(report))
    assert write([file], page) == 0
    text = page.read_text()
    assert "## A card" in text and "[Figures](device/a_card.json)" in text and NOTHING not in text
    assert "| exact, graphs@1 | 0.7 | 0.5 |" in text and "| void kernel<a/b> | 9 | 11 | 100.0% |" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in lines)
    write([file], page)
    assert page.read_text() == text  # made anew from itself


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda held: held.update(tiny=True), "of no card"),
        (lambda held: held["parts"]["machine"]["hardware"]["figures"].update(gpu=None), "of no card"),
        (lambda held: held["parts"].clear(), "of no card"),
        (lambda held: held.update(bench="speed"), "no report"),
    ],
)
def test_only_reports_of_cards_make_the_page(report, tmp_path, capsys, change, words):
    change(report)
    file = tmp_path / "other.json"
    file.write_text(json.dumps(report))
    assert main(["--page", str(file)]) == 1
    assert words in capsys.readouterr().err


def test_a_file_that_is_no_json_is_said(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        of_a_card(tmp_path / "absent.json")


def test_the_project_s_page_is_of_the_project_s_reports(tmp_path):
    """Made anew, it is the same; nothing is claimed where no card was measured."""
    page = tmp_path / "device.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert write([], page) == 0
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert (NOTHING in page.read_text(encoding="utf-8")) == (not list(CARDS.glob("*.json")))
    assert cards({}) == NOTHING
