"""Workflow files by their short names."""

import re
from pathlib import Path

import pytest

from runner.problems import WorkflowError
from runner.titles import found, short_name, title
from support.pack import ROOT
from support.workflow_files import WORKFLOWS, name, workflow

SHIPPED = ROOT / "workflows"


@pytest.mark.parametrize(
    "stem, shown, short",
    [
        ("01 Text to image", "Text to image", "text_to_image"),
        ("25 Top-k Top-p", "Top-k Top-p", "top_k_top_p"),
        ("90 Meissonic (needs a download)", "Meissonic", "meissonic"),
        ("text_to_image", "text_to_image", "text_to_image"),
        ("3d", "3d", "3d"),
        ("日本 の", "日本 の", "日本_の"),
    ],
)
def test_a_name_has_a_title_and_a_short_name(stem, shown, short):
    assert (title(stem), short_name(stem)) == (shown, short)


def test_short_names_of_the_packs_workflows_differ_and_old_ones_hold():
    names = [name(path) for path in WORKFLOWS]
    assert len(set(names)) == len(names) and {"text_to_image", "all_choices", "zsampling", "meissonic"} <= set(names)


def test_order_begins_with_text_to_image_and_ends_with_what_needs_a_file():
    """A template browser lists by name; those that run as they are come first."""
    assert name(WORKFLOWS[0]) == "text_to_image"
    numbers = [path.name[:3] for path in WORKFLOWS]
    assert all(number[:2].isdecimal() and number[2] == " " for number in numbers) and len(set(numbers)) == len(numbers)
    needing = [path for path in WORKFLOWS if "(needs a" in path.name]
    assert needing == WORKFLOWS[-len(needing) :]
    others = {path for path in WORKFLOWS if '"models": [' in path.read_text() or '"models":[' in path.read_text()}
    assert others <= set(needing)


@pytest.mark.parametrize("given", ["text_to_image", "text_to_image.json", "Text to image", "01 Text to image.json"])
def test_a_bare_name_is_one_of_the_packs(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found(Path(given), SHIPPED) == workflow("text_to_image")


def test_a_path_of_before_leads_to_the_file_in_its_folder():
    assert found(SHIPPED / "inpaint.json", SHIPPED) == workflow("inpaint")
    assert found(workflow("inpaint"), SHIPPED) == workflow("inpaint")


def test_scripts_open_text_to_image_by_its_short_name():
    """Without the runner, which would look the name up: the path itself is there."""
    assert (SHIPPED / "text_to_image.json").samefile(workflow("text_to_image"))


def test_two_files_of_one_short_name_are_named(tmp_path):
    (tmp_path / "01 Mine.json").touch()
    (tmp_path / "mine (old).json").touch()
    (tmp_path / "Mine (new).json").symlink_to("01 Mine.json")
    with pytest.raises(WorkflowError, match=re.escape("could be '01 Mine.json', 'mine (old).json' in")):
        found(tmp_path / "mine", SHIPPED)


def test_a_path_that_leads_elsewhere_is_not_looked_up_in_the_pack(tmp_path):
    with pytest.raises(WorkflowError, match="no workflow lies there"):
        found(tmp_path / "text_to_image.json", SHIPPED)


def test_what_lies_here_comes_before_the_packs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7 Text to image.json").write_text("{}")
    assert found(Path("text_to_image"), SHIPPED).resolve() == tmp_path / "7 Text to image.json"
    (tmp_path / "text_to_image").write_text("{}")
    assert found(Path("text_to_image"), SHIPPED).resolve() == tmp_path / "text_to_image"


def test_a_folder_of_the_name_is_in_nobodys_way(monkeypatch):
    """The pack itself has one called presets."""
    monkeypatch.chdir(ROOT)
    assert (ROOT / "presets").is_dir() and found(Path("presets"), SHIPPED) == workflow("presets")
    assert [found(Path(name), SHIPPED) for name in ("nodes", ".", "..")] == [Path("nodes"), Path(), Path("..")]


def test_a_whole_name_without_its_ending_comes_before_short_ones(tmp_path):
    for file in ("cat.json", "01 Cat.json", "v1.5 cat.json", "(x).json"):
        (tmp_path / file).write_text("{}")
    for file in ("cat", "01 Cat", "v1.5 cat"):
        assert found(tmp_path / file, SHIPPED) == tmp_path / f"{file}.json"
    with pytest.raises(WorkflowError, match="could be '01 Cat.json', 'cat.json' in"):
        found(tmp_path / "CAT", SHIPPED)
    with pytest.raises(WorkflowError, match="_ is not in "):
        found(tmp_path / "_", SHIPPED)


def test_none_or_several_are_told(tmp_path):
    (tmp_path / "1 My one.json").write_text("{}")
    with pytest.raises(WorkflowError, match=r"nope\.json is not in .*; workflows there: my_one\."):
        found(tmp_path / "nope.json", SHIPPED)
    (tmp_path / "my_one.json").symlink_to("1 My one.json")
    with pytest.raises(WorkflowError, match=r"workflows there: my_one\."):
        found(tmp_path / "nope.json", SHIPPED)
    (tmp_path / "my_one.json").unlink()
    (tmp_path / "my-one (old).json").write_text("{}")
    with pytest.raises(WorkflowError, match=r"could be '1 My one.json', 'my-one \(old\).json' in .*; give one"):
        found(tmp_path / "my_one", SHIPPED)


def test_near_names_come_first():
    with pytest.raises(WorkflowError, match=r"text_to_imag is not in .*; workflows there: text_to_image, .* more\.$"):
        found(SHIPPED / "text_to_imag", SHIPPED)


def test_what_is_no_json_is_left_to_who_reads_it(tmp_path):
    assert found(tmp_path / "made.png", SHIPPED) == tmp_path / "made.png"
