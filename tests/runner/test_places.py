"""Where the files that a server names may lie."""

from itertools import islice

import pytest

from runner.places import DEEPEST_FOLDER, LONGEST_NAME, free_names, place_of
from runner.problems import ServerError


def placed(output, name, folder="", kind="output"):
    path = place_of({"filename": name, "subfolder": folder, "type": kind}, output)
    assert path.is_relative_to(output) and path != output
    return path.relative_to(output).as_posix()


@pytest.mark.parametrize(
    "name, folder, place",
    [
        ("a.png", "", "a.png"),
        ("a.png", "b/c", "b/c/a.png"),
        ("a.png", "b\\c", "b/c/a.png"),
        ("a.png", "//b", "b/a.png"),
        ("a.png", "/etc", "etc/a.png"),
        ("a.png", "../..", "a.png"),
        ("a.png", "b/../../..", "b/a.png"),
        ("a.png", "..\\..\\b", "b/a.png"),
        ("a.png", "C:\\b", "C_/b/a.png"),
        ("a.png", "C:", "C_/a.png"),
        ("../../a.png", "", "a.png"),
        ("b/a.png", "", "a.png"),
        ("/a.png", "", "a.png"),
        ("C:a.png", "", "C_a.png"),
        ("a.png:stream", "", "a.png_stream"),
        (".bashrc", ".ssh", "_.ssh/_.bashrc"),
        ("...png", "...", "_...png"),
        ("a\0b.png", "c\nd", "c_d/a_b.png"),
        ("\x1b[31m.png", "", "_[31m.png"),
        ("a\u202egnp.exe", "", "a_gnp.exe"),
        ("\ud800.png", "", "_.png"),
        ("nul", "con.d", "_con.d/_nul"),
        ("COM1.png", "", "_COM1.png"),
        ("common.png", "", "common.png"),
        ("a.png. .", "b . ", "b/a.png"),
        ("日本 é.png", "", "日本 é.png"),
    ],
)
def test_a_path_becomes_one_inside(name, folder, place, tmp_path):
    assert placed(tmp_path, name, folder) == place


@pytest.mark.parametrize("name", ["x" * 4000 + ".png", "é" * 200 + ".png", "x." + "y" * 4000, "." * 200 + "x" * 300])
def test_a_long_name_is_shortened(name, tmp_path):
    place = placed(tmp_path, name)
    assert len(place.encode()) <= LONGEST_NAME + 1 and place.endswith(".png") == name.endswith(".png")
    (tmp_path / place).touch()


def test_other_folders_than_the_output(tmp_path):
    assert [placed(tmp_path, "a", kind=kind) for kind in ("temp", "input", "", None)] == ["temp/a", "input/a", "a", "a"]


@pytest.mark.parametrize("kind", ["../../up", "..", "/etc", "outputs", "OUTPUT", 5, ["output"], {"a": 1}, "\x1b[31m"])
def test_a_type_that_comfyui_has_not(kind, tmp_path):
    with pytest.raises(ServerError, match="^The server has a file of type .*; taken are output, temp, input.$"):
        placed(tmp_path, "a", kind=kind)


@pytest.mark.parametrize(
    "name, folder",
    [
        ("..", ""),
        ("/", ""),
        (".", ""),
        ("sub/", ""),
        (" ", ""),
        (5, ""),
        ("a", 5),
        (["a"], ""),
        ("a", "b/" * 17),
        ("a" * 4097, ""),
    ],
)
def test_a_path_that_is_none(name, folder, tmp_path):
    with pytest.raises(ServerError, match="^The server names a file "):
        placed(tmp_path, name, folder)
    assert DEEPEST_FOLDER == 16


@pytest.mark.parametrize("kind, folder", [("output", "link"), ("output", "link/below"), ("temp", "")])
def test_no_link_in_the_output_folder_leads_out(kind, folder, tmp_path):
    output, outside = tmp_path / "out", tmp_path / "outside"
    for place in (output, outside):
        place.mkdir()
    (output / "link").symlink_to(outside)
    (output / "temp").symlink_to(outside)
    (output / "inner").mkdir()
    (output / "within").symlink_to(output / "inner")
    with pytest.raises(ServerError, match="leads out of the output folder"):
        placed(output, "a.png", folder, kind)
    assert placed(output, "a.png", "within") == "within/a.png"


def test_the_output_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    assert placed(tmp_path / "out", "a.png", "b") == "b/a.png"


def test_free_names(tmp_path):
    shown = [[p.name for p in islice(free_names(tmp_path / name), 3)] for name in ("a.b.png", "a")]
    assert shown == [["a.b.png", "a.b (2).png", "a.b (3).png"], ["a", "a (2)", "a (3)"]]
