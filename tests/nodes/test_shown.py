"""Widgets that are hidden under choices they do not matter for: the rules that the front end is handed."""

import sys

import pytest

from support.node_runs import NODES, inputs
from support.pack import ALIAS

shown = sys.modules[f"{ALIAS}.nodes.shown"]

RULES = [
    (name, key, options[shown.OPTION])
    for name, cls in NODES.items()
    for key, (_, options) in inputs(cls).items()
    if shown.OPTION in options
]


def test_some_nodes_have_rules():
    assert {"MGTMaskSchedule", "MGTSCQCalibrate", "MGTVaryTokens"} <= {name for name, _, _ in RULES}


@pytest.mark.parametrize(("name", "key", "rule"), RULES, ids=[f"{name}-{key}" for name, key, _ in RULES])
def test_a_rule_names_some_values_of_another_choice(name, key, rule):
    given = inputs(NODES[name])
    for choice, values in rule.items():
        kind, _ = given[choice]
        assert choice != key and isinstance(kind, list), "only a list of values is chosen from"
        assert set(values) < set(kind) and values, "a widget that is always there, or never, needs no rule"


def test_rules_leave_the_widgets_where_they_are():
    """Saved workflows hold their values by place."""
    assert list(inputs(NODES["MGTMaskSchedule"])) == [
        "schedule",
        "exponent",
        "sigmoid_start",
        "sigmoid_end",
        "sigmoid_tau",
    ]


def test_what_is_hidden_has_no_effect():
    node = NODES["MGTMaskSchedule"]()
    for schedule in inputs(type(node))["schedule"][0]:
        given = {"schedule": schedule, "exponent": 2.0, "sigmoid_start": -3.0, "sigmoid_end": 3.0, "sigmoid_tau": 1.0}
        other = {"exponent": 4.0, "sigmoid_start": -2.0, "sigmoid_end": 5.0, "sigmoid_tau": 0.5}
        (plain,) = node.make(**given)
        for name, value in other.items():
            (changed,) = node.make(**{**given, name: value})
            shows = schedule in inputs(type(node))[name][1][shown.OPTION]["schedule"]
            assert (changed == plain) is not shows, (schedule, name)


def test_a_rule_of_no_input_is_refused():
    class Node:
        SHOWN_FOR = {"gone": {"mode": ["a"]}}

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"mode": (["a", "b"], {})}}

    with pytest.raises(KeyError, match="gone"):
        shown.shows_by_choice(Node)
        Node.INPUT_TYPES()
