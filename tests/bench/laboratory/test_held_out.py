"""The held-out run of counts: its rule, and what the page says of it."""

import re
from dataclasses import replace

import pytest

from bench.kept import json_in
from bench.laboratory import held_out
from bench.laboratory.held_out import ARCCOS, CONDITIONS, DOCS, EXACT, HELD, LAWS, NAME, Condition, confirmed, outcomes
from mgt_core.lab.truth import Estimate


def figures(**changed: Estimate) -> dict:
    """Of every condition cosine and square below arccos, linear above; `changed` of the first that decides."""
    means = {ARCCOS: 0.2, "cosine": 0.1, "square": 0.1, "linear": 0.3}
    found = {c.name: {law: Estimate(mean, 0.001) for law, mean in means.items()} for c in CONDITIONS}
    next(found[c.name] for c in CONDITIONS if c.decides).update(changed)
    return found


def test_the_rule_asks_for_every_condition_that_decides():
    assert confirmed(outcomes(figures()))
    assert not confirmed(outcomes(figures(cosine=Estimate(0.199, 0.01))))
    assert not confirmed(outcomes(figures(cosine=Estimate(0.3, 0.001))))


def test_with_an_error_cosine_may_not_lie_farther():
    wrong, unsure = figures(), figures()
    name = next(c.name for c in CONDITIONS if c.error != EXACT)
    wrong[name]["cosine"], unsure[name]["cosine"] = Estimate(0.3, 0.001), Estimate(0.2, 0.001)
    assert not confirmed(outcomes(wrong)) and confirmed(outcomes(unsure))


def test_conditions_are_others_than_the_published_ones():
    assert len(CONDITIONS) == len({c.name for c in CONDITIONS}) == 64
    assert sum(c.decides for c in CONDITIONS) == 12 and {c.roll for c in CONDITIONS if c.decides} == {False, True}


@pytest.mark.parametrize("roll", [False, True])
@pytest.mark.parametrize("law", [ARCCOS, *LAWS])
def test_a_condition_is_measured(monkeypatch, law, roll):
    """On the small field; one cell a step is exact."""
    field = replace(HELD["another field"], pictures=64)
    monkeypatch.setattr(held_out, "HELD", {**HELD, "another field": field})
    truth = field.make()
    found = held_out.measure(Condition("another field", EXACT, roll, truth.cells), law, truth)
    if law != ARCCOS:  # which rounds down what it reveals, and so may reveal two in a step
        assert abs(found.value) < 1e-6


def test_the_page_tells_what_was_found():
    page = (DOCS / "laboratory.md").read_text(encoding="utf-8")
    part = re.search(r"<!-- generated: held_out -->\n(.*?)<!-- end -->", page, re.DOTALL)[1]
    assert part == held_out.published(json_in(DOCS / NAME))
    found = json_in(DOCS / NAME)
    assert found["confirmed"] == confirmed(found["conditions"])
