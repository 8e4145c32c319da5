"""Stand-ins for ComfyUI's nodes of texts and numbers."""

import pytest

from runner.host_values import LONGEST, NODES
from runner.images import Folders
from runner.local import Library, execute
from runner.problems import RunError, WorkflowError
from runner.validate import validate
from support.fake_nodes import node, workflow
from support.prompts import api
from support.small_nodes import RESULTS


def run(name, **inputs):
    return NODES[name][0]().run(**inputs)


@pytest.mark.parametrize("name", NODES)
def test_results(name, capsys):
    inputs, wanted = RESULTS[name]
    cls, _ = NODES[name]
    assert run(name, **inputs) == wanted and len(cls.RETURN_TYPES) == len(wanted)
    assert set(cls.INPUT_TYPES()["required"]) == set(inputs)


@pytest.mark.parametrize(
    "inputs, wanted",
    [
        ({"string": "A Cat", "substring": "cat", "case_sensitive": True}, False),
        ({"string": "A Cat", "substring": "Cat", "case_sensitive": True}, True),
    ],
)
def test_case_counts_where_it_is_said(inputs, wanted):
    assert run("StringContains", **inputs) == (wanted,)


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "1e999", "9" * 5000, float("inf"), None, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(RunError, match="expected a finite number"):
        run("ComfyNumberConvert", value=value)


@pytest.mark.parametrize("value, wanted", [(True, (1.0, 1)), (7, (7.0, 7)), (" 7 ", (7.0, 7)), (-2.9, (-2.9, -2))])
def test_numbers(value, wanted):
    assert run("ComfyNumberConvert", value=value) == wanted


def test_texts_do_not_grow_without_end():
    half = "a" * (LONGEST // 2)
    assert len(run("StringConcatenate", string_a=half, string_b=half, delimiter="")[0]) == LONGEST
    with pytest.raises(RunError, match="1,000,001 characters; 1,000,000 are made"):
        run("StringConcatenate", string_a=half, string_b=half, delimiter="b")
    with pytest.raises(RunError, match="are made at the most"):
        run("StringReplace", string=half, find="", replace=half)


@pytest.fixture
def library(tmp_path):
    return Library.of_pack(Folders((tmp_path,), tmp_path / "out"))


def test_a_chain_of_them_runs_and_is_shown(library, capsys):
    prompt = api(
        n1=("PrimitiveStringMultiline", {"value": "a cat"}),
        n2=("PrimitiveInt", {"value": 4}),
        n3=("StringConcatenate", {"string_a": ["1", 0], "string_b": "black\x1b[31m", "delimiter": ", "}),
        n4=("ComfySwitchNode", {"switch": True, "on_false": ["2", 0], "on_true": ["3", 0]}),
        n5=("PreviewAny", {"source": ["4", 0]}),
        n6=("PreviewAny", {"source": ["2", 0]}),
    )
    assert validate(prompt, library.object_info, custom=library.custom_check) == []
    assert execute(prompt, library) == []
    assert capsys.readouterr().out.splitlines() == [
        "Preview as Text: a cat, black\\x1b[31m",
        "Preview as Text: 4",
    ]


def test_the_value_after_a_number_is_the_browsers(library):
    from run_workflow import to_api

    graph = workflow([node(1, "PrimitiveInt", [5, "randomize"]), node(2, "SeedNode", [6, "fixed"])])
    prompt = to_api(graph, library.object_info)
    assert [one["inputs"] for one in prompt.values()] == [{"value": 5}, {"seed": 6}]


def test_an_input_that_nothing_feeds_is_told(library):
    with pytest.raises(WorkflowError, match="source"):
        raise WorkflowError(validate(api(n1=("PreviewAny", {})), library.object_info))
