"""--set: by id, title or class, and what it refuses."""

import copy

import pytest

import run_workflow
from runner.problems import WorkflowError
from runner.settings import apply_settings, parse
from support.fake_nodes import chain, change, make, node, workflow

SET_ERRORS = {
    "no value": ("1.amount", "--set takes NODE.INPUT=VALUE, not '1.amount'."),
    "no input": ("amount=3", "--set takes NODE.INPUT=VALUE, not 'amount=3'."),
    "no such node": (
        "Start.amount=3",
        "--set: there is no node 'Start' in the workflow, which has "
        'Node 1 "Make a Thing" (Make), Node 2 (Change), Node 3 (Show).',
    ),
    "no such input": (
        "1.size=3",
        "--set: Node 1 \"Make a Thing\" (Make) has no input 'size'; those that can be set are "
        "amount, ratio, colour, text, flag.",
    ),
    "a socket": (
        "3.thing=3",
        "--set: thing of Node 3 (Show) takes a link from a THING output, not a value; those that can be set are none.",
    ),
    "no whole number": (
        "1.amount=2.5",
        "--set: amount of Node 1 \"Make a Thing\" (Make) takes a whole number (INT), not '2.5'.",
    ),
    "no number": (
        "1.ratio=half",
        "--set: ratio of Node 1 \"Make a Thing\" (Make) takes a number (FLOAT), not 'half'.",
    ),
    "no truth": (
        "1.flag=maybe",
        "--set: flag of Node 1 \"Make a Thing\" (Make) takes true or false (BOOLEAN), not 'maybe'.",
    ),
    "not in the combo": (
        "1.colour=blue",
        "--set: colour of Node 1 \"Make a Thing\" (Make) is 'blue', which is not one of red, green.",
    ),
    "out of range": ("1.amount=11", 'Node 1 "Make a Thing" (Make): Value 11 bigger than max of 10: amount.'),
}


@pytest.mark.parametrize("setting, sentence", SET_ERRORS.values(), ids=SET_ERRORS)
def test_bad_settings(setting, sentence, command, calls):
    code, _, err = command(chain(change(2, 1)), "--set", setting)
    assert (code, calls) == (1, [])
    assert err.splitlines()[1:] == [sentence]


def test_what_was_typed_where_python_reads_the_command_line_in_another_encoding():
    """Bytes that it cannot read come as halves of characters; they are what a terminal in UTF-8 sends."""
    typed = "漢字 é".encode().decode("ascii", "surrogateescape")
    assert parse(typed, ["STRING"], "text of Node 1") == "漢字 é"
    for unread in ("caf\udce9", "a \ud83d heart"):
        with pytest.raises(WorkflowError, match="which holds bytes that are no text in UTF-8"):
            parse(unread, ["STRING"], "text of Node 1")


def test_a_title_that_was_typed_so_is_found(library):
    graph = chain(change(2, 1))
    graph["nodes"][0]["title"] = "漢字 😀"
    typed = "漢字 😀.text=é".encode().decode("ascii", "surrogateescape")
    made = apply_settings(graph, [typed], library.object_info)
    assert "é" in made["nodes"][0]["widgets_values"]


@pytest.mark.parametrize("name", ["1", "Make a Thing", "Make"])
@pytest.mark.parametrize("form", ["ui", "api"])
def test_setting_by_id_title_or_class(name, form, library):
    graph = chain(change(2, 1))
    if form == "api":
        graph = run_workflow.to_api(graph, library.object_info)
    untouched = copy.deepcopy(graph)
    settings = [
        f"{name}.text=a=b.c",
        f"{name}.amount=5",
        f"{name}.ratio=1e-1",
        f"{name}.flag=yes",
        f"{name}.colour=red",
    ]
    changed = run_workflow.to_api(apply_settings(graph, settings, library.object_info), library.object_info)
    assert changed["1"]["inputs"] == {"text": "a=b.c", "amount": 5, "ratio": 0.1, "flag": True, "colour": "red"}
    assert graph == untouched


def test_setting_past_a_seed_control(library):
    graph = apply_settings(chain(change(2, 1)), ["2.steps=20", "2.seed=99"], library.object_info)
    assert graph["nodes"][1]["widgets_values"] == [99, "randomize", 20]


def test_setting_a_widget_that_the_file_does_not_hold(library):
    graph = apply_settings(chain(change(2, 1, widgets=[])), ["2.steps=20"], library.object_info)
    assert graph["nodes"][1]["widgets_values"] == [0, "fixed", 20]


def test_setting_a_primitive(library):
    primitive = node(5, "PrimitiveNode", [4, "fixed"], outputs=("INT",))
    graph = workflow([primitive])
    assert apply_settings(graph, ["5.value=8"], library.object_info)["nodes"][0]["widgets_values"] == [8, "fixed"]
    with pytest.raises(WorkflowError, match="the one that can be set is value"):
        apply_settings(graph, ["5.steps=8"], library.object_info)


@pytest.mark.parametrize("form", ["ui", "api"])
def test_setting_what_is_linked(form, library):
    graph = chain(change(2, 1, inputs=[("steps", "INT", 9, "steps")]))
    graph["links"].append([9, 1, 1, 2, 1, "INT"])
    if form == "api":
        graph = run_workflow.to_api(graph, library.object_info)
    with pytest.raises(WorkflowError, match=r"steps of Node 2 .* comes from node 1; set it there"):
        apply_settings(graph, ["2.steps=8"], library.object_info)


def test_setting_one_of_two(library):
    with pytest.raises(WorkflowError, match="several nodes are called 'Make', so give one of the ids 1, 4"):
        apply_settings(workflow([make(1, title="A"), make(4, title="B")]), ["Make.amount=1"], library.object_info)


def test_a_choice_may_have_the_separators_of_another_system():
    spec = (["sub/tiny", "other"], {})
    assert parse(r"sub\tiny", spec, "model") == "sub/tiny"
