"""What widgets hold once a workflow is queued: file names and prompts are filled in."""

import json
import logging
import time

import pytest
from PIL import Image

from run_workflow import to_api
from runner import replaced
from runner.images import Folders
from runner.local import Library
from runner.naming import date_text, expand_prefix, target
from runner.problems import WorkflowError
from runner.replaced import script_text
from support import queued
from support.fake_nodes import node, workflow

LINKED = ("images", "IMAGE", 1)
AT = time.struct_time((2031, 2, 3, 4, 5, 6, 0, 34, 0))


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return Library.of_pack(Folders((folder,), folder / "out")).object_info


def texts(prompt):
    return {key: one["inputs"].get("text", one["inputs"].get("filename_prefix")) for key, one in prompt.items()}


def prefix(text, info, *nodes):
    return texts(to_api(workflow([queued.saver(1, text), *nodes]), info))["1"]


def test_all_that_the_browser_fills_in(info):
    graph = queued.graph()
    before = json.dumps(graph)
    made = texts(to_api(graph, info))
    assert {key: made[key] for key in queued.expected()} == queued.expected()
    assert json.dumps(graph) == before


def test_a_text_that_comes_through_a_link_is_not_touched(info):
    prompt = to_api(queued.graph(), info)
    assert prompt["13"]["inputs"]["text"] == ["12", 0]
    assert prompt["12"]["inputs"]["value"] == "{a|a} // b"


def test_a_prompt_in_api_format_is_sent_as_it_is(info):
    inputs = {"1": {"text": "{a|b} // c"}, "2": {"filename_prefix": "%MGT Sample.seed%"}}
    classes = {"1": "MGTTextEncode", "2": "SaveImage"}
    prompt = {key: {"class_type": classes[key], "inputs": inputs[key]} for key in inputs}
    assert to_api(prompt, info) == prompt


def test_another_number_draws_other_alternatives(info):
    graph = workflow([queued.encoder(1, "{a|b}" * 30), queued.encoder(2, "{a|b}" * 30)])
    first, other = (texts(to_api(graph, info, draw)) for draw in (0, 1))
    assert first == texts(to_api(graph, info)) and first["1"] != other["1"] and first["1"] != first["2"]


def test_the_picture_holds_the_template_and_what_was_made_of_it(command, tmp_path):
    graph = workflow(
        [node(1, "Picture", [1], outputs=("IMAGE",)), node(2, "SaveImage", ["%Picture.batch%_%date:yyyy%"], [LINKED])],
        [(1, 1, 0, 2, 0, "IMAGE")],
    )
    code, _, err = command(graph, "--draw", "3")
    assert (code, err) == (0, "")
    saved = tmp_path / "out" / f"1_{time.localtime().tm_year}_00001_.png"
    with Image.open(saved) as image:
        held = {name: json.loads(text) for name, text in image.text.items()}
    assert held["workflow"]["nodes"][1]["widgets_values"] == ["%Picture.batch%_%date:yyyy%"]
    assert held["prompt"]["2"]["inputs"]["filename_prefix"] == saved.name.removesuffix("_00001_.png")


def test_names_that_are_nobodys_stay_and_are_told(info, caplog):
    with caplog.at_level(logging.WARNING):
        assert prefix("%Nobody.x%%width%%batch_num%_%Save Image.y%_%z%", info) == (
            "%Nobody.x%%width%%batch_num%_%Save Image.y%_%z%"
        )
    where = "filename_prefix of Node 1 (SaveImage) names"
    assert caplog.messages == [
        f"{where} %Nobody.x%, and there is no node Nobody, so it stays as it is.",
        f"{where} %Save Image.y%, and Node 1 (SaveImage) has no widget y, so it stays as it is.",
        f"{where} %z%, which is neither a date nor the widget of a node, so it stays as it is.",
    ]


@pytest.mark.parametrize("text", ["a/b:c", 'a\\b"c', "a\nb\tc", "a\u2028b\x85c", "a\ud83db\u202ec"])
def test_what_no_file_name_holds_is_left_out_of_values(text, info, tmp_path):
    made = prefix("%Words.text%", info, queued.encoder(2, text) | {"title": "Words"})
    assert made == "a_b_c" and target(tmp_path, made) == tmp_path / "a_b_c"


def test_dates_are_those_of_now(info, monkeypatch):
    monkeypatch.setattr(replaced.time, "localtime", lambda: AT)
    assert prefix("%date:yyyy-MM-dd hh:mm:ss%/%date:hhmmss%", info) == "2031-02-03 04:05:06/040506"
    assert prefix("%date:dd.MM.yy%", info) == "03"  # a dot ends it for the browser as well


@pytest.mark.parametrize(
    "pattern, text",
    {
        "d.M.yy h:m:s": "3.2.31 4:5:6",
        "dd MM yyyy hh mm ss": "03 02 2031 04 05 06",
        "yyyMMM": "yyy022",
        "day": "3ay",
        "": "",
    }.items(),
)
def test_dates(pattern, text):
    assert date_text(pattern, AT) == text


def test_what_a_server_fills_in(monkeypatch):
    monkeypatch.setattr(time, "localtime", lambda: AT)
    names = ("year", "month", "day", "hour", "minute", "second", "width", "height")
    assert expand_prefix("-".join(f"%{name}%" for name in names), 640, 48) == "2031-02-03-04-05-06-640-48"
    assert expand_prefix("%a%width%", 640, 48) == "%a640"


def test_pictures_of_a_batch_are_told_apart(command, tmp_path):
    graph = workflow(
        [node(1, "Picture", [2], outputs=("IMAGE",)), node(2, "SaveImage", ["p%batch_num%"], [LINKED])],
        [(1, 1, 0, 2, 0, "IMAGE")],
    )
    names = []
    for _ in range(2):
        assert command(graph)[0] == 0
        names.append(sorted(path.name for path in (tmp_path / "out").iterdir()))
    assert names[0] == ["p0_00001_.png", "p1_00002_.png"]
    assert names[1] == [*names[0][:1], "p0_00003_.png", *names[0][1:], "p1_00004_.png"]


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.05, "0.05"),
        (100.5, "100.5"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-8, "1.5e-8"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (18446744073709551615, "18446744073709551615"),
        (True, "true"),
        (None, ""),
        (["a", 1.0, None], "a,1,"),
    ],
)
def test_values_are_written_as_the_browser_writes_them(value, text):
    assert script_text(value) == text


def test_a_name_that_grows_too_long_is_refused(info):
    long = queued.encoder(2, "x" * 60_000, title="Long")
    with pytest.raises(WorkflowError, match="filename_prefix of Node 1 .* is longer than 100,000 characters"):
        prefix("%Long.text%" * 2, info, long)
