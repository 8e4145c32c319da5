"""Choices that were saved on another system are found by the names that they have here."""

import pytest

from run_workflow import to_api
from runner.images import Folders
from runner.local import Library
from support.fake_nodes import node, workflow

CHOICES = {
    "saved on Windows": (["sub/tiny", "other"], r"sub\tiny", "sub/tiny"),
    "for a server on Windows": ([r"a\b\c.pt"], "a/b/c.pt", r"a\b\c.pt"),
    "as it is listed": ([r"a\b", "a/b"], r"a\b", r"a\b"),
    "of two": ([r"a\b/c", r"a/b\c"], "a/b/c", "a/b/c"),
    "of none": (["a/b"], r"a\B", r"a\B"),
    "without a folder": (["a"], "b", "b"),
}


@pytest.mark.parametrize("listed, value, found", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("as_combo", [False, True])
def test_choices_saved_on_another_system(listed, value, found, as_combo):
    spec = ["COMBO", {"options": listed}] if as_combo else [listed]
    info = {"Load": {"input": {"required": {"name": spec}}, "output": []}}
    graph = workflow([node(1, "Load", [value])])
    api = {"1": {"class_type": "Load", "inputs": {"name": value}}}
    for document in (graph, api):
        assert to_api(document, info)["1"]["inputs"] == {"name": found}
    assert graph["nodes"][0]["widgets_values"] == [value] == [api["1"]["inputs"]["name"]]


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return Library.of_pack(Folders((folder,), folder / "out")).object_info


def test_a_picture_in_a_folder_is_found_though_it_is_not_listed(info):
    graph = workflow([node(1, "LoadImage", [r"sub\a.png", "image"])])
    assert to_api(graph, info)["1"]["inputs"]["image"] == "sub/a.png"


def test_lists_that_let_all_pass_are_looked_into(info):
    """Those of the pack's loaders, whose nodes say themselves what is wrong."""
    declared = info["MGTLoadModel"]["input"]["required"]["model"]
    listed = type(declared[0])([*declared[0], "sub/tiny"])
    described = {"Load": {"input": {"required": {"model": (listed, declared[1])}}, "output": []}}
    assert to_api(workflow([node(1, "Load", [r"sub\tiny"])]), described)["1"]["inputs"] == {"model": "sub/tiny"}
