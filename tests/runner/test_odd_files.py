"""Workflow files of odd shape, and of absurd size: each is refused in sentences, before work is done for it."""

import json
import os
import zlib

import pytest

from run_workflow import prepare, to_api
from runner import graph as graphs
from runner import links, shape
from runner.convert import SHOWN_WARNINGS
from runner.files import Document, read_document
from runner.problems import LONGEST, Problem, WorkflowError
from support.fake_nodes import chain, change, make, node, show, workflow
from support.prompts import MAKE, api, made
from support.trials import is_sentence

WHOLE = chain(change(2, 1))
DEEP = "[" * 800 + "]" * 800


def refusal(action, *arguments, **more):
    """The one sentence in which something is refused."""
    with pytest.raises(WorkflowError) as caught:
        action(*arguments, **more)
    (problem,) = caught.value.problems
    assert is_sentence(str(problem)), str(problem)
    return str(problem)


def with_node(**more):
    """A workflow whose Make holds this."""
    return workflow([{**make(1), **more}, show(3, 1)], [(1, 1, 0, 3, 0, "THING")])


def with_slot(**more):
    return with_node(inputs=[{"name": "amount", "type": "INT", "link": None, **more}])


def subgraphs(*entries, kind="a", **more):
    return workflow([node(1, kind)], definitions={"subgraphs": list(entries)}, **more)


ODD = {
    "links": (WHOLE | {"links": {"1": 2}}, "links of the workflow is {'1': 2}, not a list."),
    "link": (WHOLE | {"links": [3]}, "a link is not of the form [id, from node, from slot, to node, to slot, type]: 3"),
    "text as a link": (WHOLE | {"links": ["12345"]}, "a link is not of the form"),
    "id of a link": (WHOLE | {"links": [[[], 1, 0, 2, 0, "T"]]}, "a link is not of the form"),
    "endless slot": (WHOLE | {"links": [[1, 1, float("inf"), 2, 0, "T"]]}, "a link is not of the form"),
    "true as a slot": (WHOLE | {"links": [[1, 1, True, 2, 0, "T"]]}, "a link is not of the form"),
    "node": (WHOLE | {"nodes": [7]}, "a node has no id or no type: 7."),
    "id": (with_node(id=[1]), "id of a node is [1], not a number or text of at most 100 characters."),
    "true as an id": (with_node(id=True), "id of a node is True, not a number or text"),
    "long id": (with_node(id="1" * 101), "id of a node is '111"),
    "type": (with_node(type={}), "a node has no id or no type: {'id': 1, 'type': {}"),
    "title": (with_node(title=["x"]), "title of node 1 is ['x'], not text."),
    "mode": (with_node(mode="4"), "mode of node 1 is '4', not a number."),
    "inputs": (with_node(inputs={"amount": 3}), "inputs of node 1 is {'amount': 3}, not a list."),
    "outputs": (with_node(outputs=True), "outputs of node 1 is True, not a list."),
    "widgets": (with_node(widgets_values="abc"), "widgets_values of node 1 is 'abc', not a list, or an object"),
    "slot": (with_node(inputs=[None]), "entry 0 of the inputs of node 1 is None, not an object."),
    "name of a slot": (with_slot(name=[]), "name of node 1 is [], not text."),
    "link of a slot": (with_slot(link={}), "link of node 1 is {}, not the id of a link."),
    "definitions": (WHOLE | {"definitions": [3]}, "definitions of the workflow is [3], not an object that holds"),
    "subgraphs": (WHOLE | {"definitions": {"subgraphs": 3}}, "subgraphs of the workflow's definitions is 3, not"),
    "subgraph": (subgraphs(None), "entry 0 of the workflow's subgraphs is None, not an object with text as its id."),
    "id of a subgraph": (subgraphs({"id": ["a"]}), "entry 0 of the workflow's subgraphs is {'id': ['a']}, not"),
    "nodes of a subgraph": (subgraphs({"id": "a", "nodes": 3}), "nodes of subgraph a is 3, not a list."),
    "controls": (with_node(title=["\x1b[31m\n\ud800"]), r"title of node 1 is ['\x1b[31m\n\ud800'], not text."),
}  # fmt: skip


@pytest.mark.parametrize("graph, sentence", ODD.values(), ids=ODD)
@pytest.mark.parametrize("settings", [[], ["1.amount=2"]], ids=["as it is", "with a setting"])
def test_odd_shapes(graph, sentence, settings, library):
    assert refusal(prepare, Document(ui=graph), settings, library.object_info).startswith(f"Bad workflow: {sentence}")


def test_slots_that_are_not_there(library):
    for slot, said in ((-1, "a link leads from output -1 of Node 1 (Make)"), (10**30, f"slot {10**30} of node 1")):
        graph = workflow([make(1), show(3, 1)], [(1, 1, slot, 3, 0, "THING")])
        assert said in refusal(prepare, Document(ui=graph), [], library.object_info)


LIKE_THE_FRONT_END = {
    "no links, and none is used": {"nodes": [make(1), show(3, None)]},
    "null wherever it may be": workflow(
        [make(1), {"id": 3, "type": "Show", "mode": None, "title": None, "inputs": None, "widgets_values": None}],
        definitions=None,
    ) | {"links": None},
    "null in the place of a link that was removed": WHOLE | {"links": [None, *WHOLE["links"]]},
    "ids as text": WHOLE | {"links": [[str(part) for part in link] for link in WHOLE["links"]]},
    "notes, of which nothing is read": {
        **WHOLE,
        "nodes": [
            *WHOLE["nodes"],
            {"id": 9, "type": "Note", "inputs": {}, "outputs": {}, "widgets_values": "hello", "title": 5},
        ],
    },
    "an object without entries for a list": {**WHOLE, "nodes": [{**make(1), "inputs": {}}, show(3, 1)]},
    "a number for a title": {**WHOLE, "nodes": [{**make(1), "title": 5}, show(3, 1)]},
    "odd things that nobody reads": {**WHOLE, "groups": 3, "extra": [], "version": {}, "config": None},
}  # fmt: skip


@pytest.mark.parametrize("graph", LIKE_THE_FRONT_END.values(), ids=LIKE_THE_FRONT_END)
def test_what_the_front_end_lets_pass(graph, library):
    assert to_api(graph, library.object_info).keys() >= {"1", "3"}


@pytest.mark.parametrize("about", [3, [], "x", {"title": []}, {"title": None}, None])
def test_servers_read_nothing_about_a_node(about, library):
    prompt = {"1": {**made(amount=-1)["1"], "_meta": about}, "3": made()["3"]}
    assert refusal(prepare, Document(api=prompt), [], library.object_info).startswith("Node 1 (Make): Value -1 smaller")


def file_of(content, tmp_path):
    path = tmp_path / "w.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TOO_MUCH = {
    "deep": ('{"nodes": [], "extra": ' + DEEP + "}", "holds lists and objects more than 100 deep in each other"),
    "deeper than Python reads": ("[" * 100_000, "holds lists and objects more than 100 deep in each other"),
    "long number": (
        f'{{"nodes": [{"9" * 5000}]}}',
        "(it holds a number of 5000 digits, of which at most 1000 are read)",
    ),
    "very many lists": ("[" + "[]," * 2_000_000 + "0]", "holds more than 2,000,000 lists and objects"),
    "long": (b" " * (shape.MOST_BYTES + 1), "is larger than 32 MB, the most that is read."),
    "Latin-1": ('{"nodes": [],\n"é": 1}'.encode("latin-1"), "UTF-8: line 2 holds the byte 0xe9; save it as UTF-8)."),
    "half of UTF-16": (b'\xff\xfe{\0"', "is neither JSON text, a PNG image nor a FLAC sound."),
}


@pytest.mark.parametrize("content, sentence", TOO_MUCH.values(), ids=TOO_MUCH)
def test_texts_that_are_too_much(content, sentence, tmp_path):
    assert sentence in refusal(read_document, file_of(content, tmp_path))


MARKED = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", MARKED)
def test_files_of_every_editor_and_shell_are_read(encoding, tmp_path):
    held = {"nodes": [], "a": "é\u2028😀"}
    text = json.dumps(held, ensure_ascii=False)
    assert read_document(file_of(text.encode(encoding), tmp_path)).ui == held
    assert read_document(file_of(f"\ufeff{text}".encode(encoding), tmp_path)).ui == held


def test_half_a_character_is_read_as_it_is(tmp_path):
    for content in (b'{"nodes": [], "a": "\\ud83d"}', '{"nodes": [], "a": "\ud83d"}'.encode("utf-16", "surrogatepass")):
        assert read_document(file_of(content, tmp_path)).ui["a"] == "\ud83d"


def picture_with(kind, text):
    """A PNG image without pixels that carries this text as its workflow."""
    data = b"workflow\0" + (b"\0" + zlib.compress(text) if kind == b"zTXt" else text)
    chunks = ((kind, data), (b"IEND", b""))
    written = (len(d).to_bytes(4, "big") + k + d + zlib.crc32(k + d).to_bytes(4, "big") for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
def test_pictures_of_programs_that_write_utf_8_where_png_has_latin_1(kind, tmp_path):
    held = {"nodes": [], "a": "漢 é"}
    for encoding, ensure in (("utf-8", False), ("latin-1", True), ("utf-8-sig", False)):
        text = json.dumps(held, ensure_ascii=ensure).encode(encoding)
        assert read_document(file_of(picture_with(kind, text), tmp_path)).ui == held


def test_latin_1_in_a_picture_stays(tmp_path):
    picture = picture_with(b"tEXt", '{"nodes": [], "a": "é"}'.encode("latin-1"))
    assert read_document(file_of(picture, tmp_path)).ui["a"] == "é"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    assert refusal(read_document, tmp_path / "pipe").endswith("pipe: it is not a regular file.")
    assert refusal(read_document, tmp_path / "endless").endswith("endless: it is not a regular file.")
    assert refusal(read_document, tmp_path / "circle").endswith("circle: Too many levels of symbolic links.")
    assert "File name too long" in refusal(read_document, tmp_path / ("x" * 300))
    assert "null" in refusal(read_document, tmp_path / "\0")


def nest(depth, times, held=()):
    """Subgraphs that hold each other, `times` a level; the innermost holds what is given, the others nothing else."""
    kinds = [f"s{level}" for level in range(depth)]
    inner = [[node(i, kind) for i in range(times)] for kind in kinds[1:]] + [list(held)]
    return subgraphs(*({"id": kind, "name": kind, "nodes": nodes} for kind, nodes in zip(kinds, inner)), kind="s0")


BOMBS = {
    "many": (nest(9, 10, [make(1), make(2)]), "with its subgraphs written out it has more than 100,000 nodes"),
    "many empty ones": (nest(6, 10), "with its subgraphs written out it has more than 100,000 nodes"),
    "deep": (nest(33, 1), "with its subgraphs written out it has more than 32 subgraphs in each other"),
    "deeper than Python's stack": (nest(5000, 1), "it has more than 32 subgraphs in each other"),
    "deep by two ways": (
        workflow([node(1, "s20"), node(2, "s0")], definitions=nest(40, 1)["definitions"]),
        "it has more than 32 subgraphs in each other",
    ),
    "long": (nest(4, 10, [make(1, title="x" * 100_000)]), "written out it has more than 67,108,864 bytes"),
    "circle": (
        subgraphs({"id": "a", "name": "A", "nodes": [node(1, "b")]}, {"id": "b", "name": "B", "nodes": [node(1, "a")]}),
        "subgraph A contains itself",
    ),
    "nodes": ({"nodes": [None] * 100_001}, "it holds 100,001 nodes, and at most 100,000 are read"),
    "links": ({"nodes": [], "links": [None] * 300_001}, "it holds 300,001 links, and at most 300,000 are read"),
}  # fmt: skip


@pytest.mark.parametrize("graph, sentence", BOMBS.values(), ids=BOMBS)
def test_sizes_are_known_before_anything_is_written_out(graph, sentence, library, monkeypatch):
    monkeypatch.setattr(graphs, "_opened", lambda *_: pytest.fail("was written out"))
    assert sentence in refusal(to_api, graph, library.object_info)


def test_a_prompt_has_as_many_nodes_at_most(library):
    prompt = dict.fromkeys(map(str, range(100_001)), {"class_type": "Make", "inputs": MAKE})
    assert "holds 100,001 nodes" in refusal(prepare, Document(api=prompt), [], library.object_info)


def reroutes(count):
    """Make -> reroutes in a row, each of which also feeds an end of its own."""
    rows = [node(i, "Reroute", [], [("", "*", i)], ("*",)) for i in range(2, count + 2)]
    ends = [show(-i, -i) for i in range(2, count + 2)]
    return workflow(
        [make(1), *rows, *ends],
        [(i, i - 1, 0, i, 0, "*") for i in range(2, count + 2)] + [(-i, i, 0, -i, 0, "*") for i in range(2, count + 2)],
    )


def test_long_rows_of_reroutes_are_looked_through_once(library, monkeypatch):
    monkeypatch.setattr(links, "MOST_LOOKS", 4 * 5000)
    prompt = to_api(reroutes(5000), library.object_info)
    assert len(prompt) == 5001 and all(prompt[str(-i)]["inputs"] == {"thing": ["1", 0]} for i in range(2, 5002))


def test_looks_have_a_limit(library, monkeypatch):
    monkeypatch.setattr(links, "MOST_LOOKS", 50)
    assert "more than 50 looks at slots" in refusal(to_api, reroutes(100), library.object_info)


def test_twenty_thousand_nodes(library, tmp_path):
    """In a row, each through a reroute, and then a hundred times through one subgraph."""
    rows = range(2, 5000)
    nodes = [change(i, i) for i in rows] + [node(-i, "Reroute", [], [("", "*", -i)], ("*",)) for i in rows]
    ends = [(-i, i - 1, 0, -i, 0, "*") for i in rows] + [(i, -i, 0, i, 0, "*") for i in rows]
    uses = range(5000, 5100)
    nodes += [node(i, "s", [], [("thing", "THING", i)], ("THING",)) for i in uses] + [show(9999, 9999)]
    ends += [(i, i - 1, 0, i, 0, "THING") for i in uses] + [(9999, 5099, 0, 9999, 0, "THING")]
    inner = [[i, i - 1 or -10, 0, i, 0, "THING"] for i in range(1, 101)] + [[101, 100, 0, -20, 0, "THING"]]
    subgraph = {"id": "s", "name": "S", "nodes": [change(i, i) for i in range(1, 101)], "links": inner}
    graph = workflow([make(1), *nodes], ends, definitions={"subgraphs": [subgraph]})
    prompt, _ = prepare(read_document(file_of(json.dumps(graph), tmp_path)), ["4000.steps=9"], library.object_info)
    assert len(prompt) == len(nodes) - len(rows) - len(uses) + 1 + 100 * 100
    assert prompt["4000"]["inputs"] == {"thing": ["3999", 0], "seed": 7, "steps": 9}
    assert prompt["5000:1"]["inputs"]["thing"] == ["4999", 0]
    assert prompt["5050:1"]["inputs"]["thing"] == ["5049:100", 0]
    assert prompt["9999"]["inputs"]["thing"] == ["5099:100", 0]


@pytest.mark.parametrize(
    "setting, said",
    [
        ("1.amount=" + "1" * 5000, "takes a whole number (INT), not '111"),
        ("1.amount=" + "1" * 900, "Value 111"),
        ("1.ratio=nan", "it is not a number"),
        ("1.ratio=inf", "Value inf bigger than max of 1.0"),
        ("1.text=\udc80", r"text of Node 1 \"Make a Thing\" (Make) is '\udc80', which holds bytes that are no text"),
        ("\udc80\x1b[31m.text=", r"there is no node '\udc80\x1b[31m'"),
        ("", "--set takes NODE.INPUT=VALUE, not ''"),
    ],
)
def test_odd_settings(setting, said, library):
    assert said.replace('\\"', '"') in refusal(prepare, Document(ui=WHOLE), [setting], library.object_info)


ODD_VALUES = {
    "list in a wrapper": ({"amount": {"__value__": [1]}}, "Failed to convert an input value to a INT value"),
    "object": ({"ratio": {"a": 1}}, "Failed to convert an input value to a FLOAT value"),
    "digits": ({"amount": "9" * 5000}, "Failed to convert an input value to a INT value"),
    "beyond all floats": ({"ratio": 10**400}, "int too large to convert to float"),
    "no float of that size": ({"ratio": "1e400"}, "Value inf bigger than max"),
    "object in a combo": ({"colour": {"red": 1}}, "Value not in list: colour: '{'red': 1}' not in ['red', 'green']."),
    "no link": ({"text": []}, "Bad linked input, must be a length-2 list"),
    "link to an object": ({"text": [{}, 0]}, "Linked node does not exist: text is linked to node {}."),
    "a million characters": ({"colour": "x" * 1_000_000}, "Value not in list: colour: 'xxx"),
}  # fmt: skip


@pytest.mark.parametrize("values, said", ODD_VALUES.values(), ids=ODD_VALUES)
def test_odd_values(values, said, library):
    assert said in refusal(prepare, Document(api=made(**values)), [], library.object_info)


def test_a_check_of_a_node_that_fails(library):
    """VALIDATE_INPUTS of the fake node takes numbers only."""
    custom = {"Checked": lambda even: even / 0, "Make": None}.get
    problems = [str(p) for p in prepare_problems(api(n1=("Checked", {"even": 2})), library, custom)]
    assert problems == [
        "Node 1 (Checked): Custom validation failed for node: even - ZeroDivisionError: division by zero."
    ]


def prepare_problems(prompt, library, custom):
    with pytest.raises(WorkflowError) as caught:
        prepare(Document(api=prompt), [], library.object_info, custom=custom)
    return caught.value.problems


def test_long_names_leave_room_for_what_is_wrong():
    said = str(Problem("It is wrong", "very", "1" * 9999, "Class\x1b" * 999, "title \n" * 9999))
    assert is_sentence(said) and len(said) < LONGEST and said.endswith(": It is wrong: very.")


def test_warnings_name_some_nodes_and_count_the_others(library, caplog):
    to_api(workflow([make(i, widgets=[1] * 9, title="\x1b[31m\n") for i in range(500)]), library.object_info)
    assert len(caplog.messages) == SHOWN_WARNINGS + 1 and all(map(is_sentence, caplog.messages))
    assert caplog.messages[0] == r'Node 0 "\x1b[31m" (Make) holds 4 more widget values than it has widgets.'
