"""The run of spans on chains: what is measured, and what the page says of it."""

import math
import re
from dataclasses import replace

import pytest
import torch

from bench.kept import json_in
from bench.laboratory import spans
from bench.laboratory.spans import CHOICES, CONDITIONS, DOCS, HYPOTHESES, NAME, SIZES, chain_of, divergence, outcomes
from mgt_core import FixedOrder
from mgt_core.lab.measures import exact_sample
from mgt_core.lab.truth import Estimate

SHORT, LONG = (next(c for c in CONDITIONS if c.size == size) for size in SIZES)


@pytest.mark.parametrize("condition", [SHORT, LONG], ids=lambda c: c.size)
def test_exact_pictures_have_no_divergence_and_others_have(condition):
    truth = chain_of(condition)
    one, other = (divergence(truth, exact_sample(truth, 0, 1000, seed)) for seed in (1, 2))
    assert abs(one.minus(other).value) < 4 * one.minus(other).error
    generator = torch.Generator().manual_seed(0)
    columns = exact_sample(truth, 0, 1000, 1).T
    mixed = torch.stack([column[torch.randperm(1000, generator=generator)] for column in columns], 1)
    assert divergence(truth, mixed).minus(one).interval[0] > 0, "cells that are independent"


def test_of_independent_cells_it_is_the_truths_own_divergence():
    """With ever more pictures: the KL of two neighbours' mutual information for each pair."""
    truth = chain_of(LONG)
    tokens = torch.randint(8, (3000, 96), generator=torch.Generator().manual_seed(0))
    agree = (step := truth.transitions[0])[0, 0]
    wanted = -(agree * 8).log() / 8 - 7 * (step[0, 1] * 8).log() / 8
    assert divergence(truth, tokens).value == pytest.approx(float(wanted) * 3 / 4, rel=0.05)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("size", SIZES)
def test_a_condition_is_measured(monkeypatch, size, choice):
    few = {name: replace(row, pictures=40) for name, row in SIZES.items()}
    monkeypatch.setattr(spans, "SIZES", few)
    found = spans.measure(next(c for c in CONDITIONS if c.size == size), choice)
    assert found.keys() == {"kl", "surprise"} and all(math.isfinite(each.value) for each in found.values())


def test_one_cell_a_step_is_as_near_as_exact_pictures(monkeypatch):
    monkeypatch.setattr(spans, "SIZES", {"short": replace(SIZES["short"], pictures=2000)})
    raster = FixedOrder("raster", counts="schedule", draws=spans.BatchDraws)
    monkeypatch.setattr(spans, "CHOICES", {"raster": (raster, "cosine")})
    found = spans.measure(replace(SHORT, steps=12), "raster")
    assert abs(found["kl"].value) < 4 * found["kl"].error and abs(found["surprise"].value) < 4 * found["surprise"].error


def test_verdicts():
    """Of the first hypothesis: it holds, then the opposite, then nothing can be told."""
    figures = {
        c.name: {choice: dict.fromkeys(("kl", "surprise"), Estimate(0.2, 0.001)) for choice in CHOICES}
        for c in CONDITIONS
    }
    hypothesis = HYPOTHESES[0]
    meant = [c.name for c in CONDITIONS if hypothesis.meant(c)]
    for name, value in zip(meant, (0.1, 0.3, 0.2)):
        figures[name][hypothesis.one] = {"kl": Estimate(value, 0.001), "surprise": Estimate(0.2, 0.001)}
    found = outcomes(figures)[hypothesis.told]
    assert [found[name]["verdict"] for name in meant[:3]] == ["holds", "the opposite holds", "not shown"]


def test_the_page_tells_what_was_found():
    page = (DOCS / "laboratory.md").read_text(encoding="utf-8")
    part = re.search(r"<!-- generated: spans -->\n(.*?)<!-- end -->", page, re.DOTALL)[1]
    report = json_in(DOCS / NAME)
    assert part == spans.published(report)
    assert report["figures"].keys() == {c.name for c in CONDITIONS} and part.count("\n| ") == 2 + len(CONDITIONS) // 2
