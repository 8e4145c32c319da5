"""What is told before anything runs, and what is run again because a file changed."""

import json
import os
import sys

import pytest

from support.golden import bundles, pipeline
from support.node_runs import NODES
from support.pack import ALIAS
from support.trials import is_sentence

host = sys.modules[f"{ALIAS}.nodes.host"]
MANY = "goldfish\n" * 4096


@pytest.fixture
def presets(monkeypatch, tmp_path):
    """The folder of a person's own presets, with one in it."""
    monkeypatch.setattr(host, "PACK", tmp_path)
    folder = tmp_path / "models" / "mgt" / "presets"
    folder.mkdir(parents=True)
    write(folder / "mine.json", steps=3)
    return folder


def write(path, **settings):
    path.write_text(json.dumps({"description": "Tried.", **settings}))


REFUSED = [
    ("MGTCustomCurve", {"points": "0 1\nx\n1 0"}, "line 2 of points is 'x'"),
    ("MGTCustomCurve", {"points": "0 1\n0.5 0.2\n0.6 0.4\n1 0"}, "out of order"),
    ("MGTCustomCurve", {"points": ""}, r"from (0, 1) to (1, 0)"),
    ("MGTPromptBatch", {"prompts": " \n\n"}, "prompts holds no text"),
    ("MGTPromptBatch", {"prompts": MANY + "one more"}, "4097 lines"),
    ("MGTClassLabel", {"more_labels": "goldfish\ngoldfsh"}, "'goldfsh' is none of the 1,000"),
    ("MGTClassLabel", {"more_labels": MANY}, "4097 lines"),
    ("MGTTokenCache", {"start": 0.6, "end": 0.5}, "starts at 0.6 and ends at 0.5"),
    ("MGTTokenCache", {"start": 1.5, "end": 2.0}, "start is 1.5"),
    ("MGTSamplerZ", {"start": 1.0, "end": 0.0}, "starts at 1.0 and ends at 0.0"),
    ("MGTPreset", {"preset": "built-in-fst"}, "preset is 'built-in-fst', but the known ones are built-in-fast, "),
]


@pytest.mark.parametrize(("name", "values", "words"), REFUSED)
def test_bad_values_are_told(name, values, words):
    told = NODES[name].VALIDATE_INPUTS(**values)
    assert is_sentence(told) and words in told


def test_no_node_refuses_its_defaults_or_what_another_node_gives():
    # Where there is nothing to draw yet, and where all that can be chosen is a download.
    empty = {("MGTPromptBatch", "prompts"), ("MGTRewardPrompt", "scorer")}
    for name, cls in NODES.items():
        if not hasattr(cls, "VALIDATE_INPUTS"):
            continue
        code = cls.VALIDATE_INPUTS.__func__.__code__
        names = code.co_varnames[1 : code.co_argcount]
        declared = {key: spec for group in cls.INPUT_TYPES().values() for key, spec in group.items()}
        given = {key: declared[key][1]["default"] for key in names if key in declared and (name, key) not in empty}
        if given:
            assert cls.VALIDATE_INPUTS(**given) is True, name
        assert cls.VALIDATE_INPUTS(**dict.fromkeys(names)) is True, name
        assert cls.VALIDATE_INPUTS() is True, f"{name}: of a missing input hosts say so themselves"


def test_what_is_judged_loses_no_limit_of_the_host():
    """A host leaves an input that VALIDATE_INPUTS names to it, with its range and its list."""
    for name, cls in NODES.items():
        code = getattr(cls, "VALIDATE_INPUTS", None)
        for key in code.__func__.__code__.co_varnames[1 : code.__func__.__code__.co_argcount] if code else ():
            declared = {key: spec for group in cls.INPUT_TYPES().values() for key, spec in group.items()}
            if key not in declared:
                continue
            kind, options = declared[key]
            if isinstance(kind, list):
                told = cls.VALIDATE_INPUTS(**{key: "no such choice"})
                assert "no such choice" in told, (name, key)
            elif "max" in options:
                whole = {k: declared[k][1]["default"] for k in ("start", "end") if k in declared}
                assert cls.VALIDATE_INPUTS(**{**whole, key: options["max"] + 1}) is not True, (name, key)


def test_a_preset_that_is_gone_or_broken(presets):
    judge = NODES["MGTPreset"].VALIDATE_INPUTS
    assert judge("mine") is True
    (presets / "mine.json").write_text("{")
    assert "not valid JSON" in judge("mine")
    (presets / "mine.json").unlink()
    assert "preset is 'mine', but the known ones are" in judge("mine")


def test_the_name_of_a_model_that_is_there(monkeypatch, tmp_path):
    """It is told before hours of calibration; not of one that this session saved, whose node need not run again."""
    monkeypatch.setattr(host, "PACK", tmp_path)
    node, pipe = NODES["MGTSaveModel"], pipeline(bundles()[0])
    monkeypatch.setattr(node, "written", set())
    assert node.VALIDATE_INPUTS("mine", False) is True
    node().save(pipe.model, pipe.codec, "mine", False, pipe.text)
    assert node.VALIDATE_INPUTS("mine", False) is True
    monkeypatch.setattr(node, "written", set())  # the next session
    told = node.VALIDATE_INPUTS("mine", False)
    assert is_sentence(told) and told.startswith("name is 'mine'") and "turn overwrite on" in told
    assert node.VALIDATE_INPUTS("mine", True) is True and node.VALIDATE_INPUTS("mine", None) is True


def test_a_preset_of_any_size_is_told_in_no_time(presets):
    with (presets / "large.json").open("wb") as stream:
        stream.truncate(2**40)
    assert isinstance(NODES["MGTPreset"].IS_CHANGED(preset="large"), str)
    assert "has 1099511627776 bytes" in NODES["MGTPreset"].VALIDATE_INPUTS("large")


def test_a_preset_that_was_edited_is_another_one(presets):
    changed, file = NODES["MGTPreset"].IS_CHANGED, presets / "mine.json"
    write(presets / "other.json", steps=4)
    before = changed(model=None, preset="mine", unique_id="7")
    os.utime(file, (1, 1))
    write(presets / "other.json", steps=5)
    assert changed(model=None, preset="mine", unique_id="8") == before
    write(file, steps=5)
    assert changed(model=None, preset="mine", unique_id="7") != before
    every = changed(model=None, preset=None, unique_id="7")  # named by another node
    write(presets / "other.json", steps=6)
    assert changed(model=None, preset=None, unique_id="7") != every
    file.unlink()
    assert isinstance(changed(model=None, preset="mine", unique_id="7"), str)
