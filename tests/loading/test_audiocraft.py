"""The config that checkpoints of audiocraft hold as YAML: read as text, small, plain, and never computed."""

import json
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError
from mgt_core.loading import audiocraft
from mgt_core.loading.audiocraft import config_in, table_of
from mgt_core.loading.part import read_part
from mgt_core.loading.pickle_header import LONGEST_NOTE
from mgt_core.loading.weights import notes_in
from support.device import HERE
from support.golden import ROOT
from support.pickles import opcodes, tensor, write_pickle
from support.trials import is_sentence

FILE = Path("state_dict.bin")
MAGNET = ROOT / "audio" / "magnet"


def saved(folder: Path, text: object, **others: object) -> Path:
    torch.save({"best_state": {"a.weight": torch.ones(2)}, "xp.cfg": text, **others}, folder / FILE)
    return folder / FILE


def test_the_published_files():
    config = read_part(MAGNET / "state_dict.bin").config
    assert config["lm_model"] == "transformer_lm_magnet" and config["transformer_lm"]["n_q"] == 4
    assert config["conditioners"]["description"]["t5"]["name"].startswith("t5-")
    codec = read_part(MAGNET / "compression_state_dict.bin").config
    assert codec["encodec"]["sample_rate"] == "${sample_rate}"  # as it stands
    assert isinstance(codec["seanet"]["ratios"], list) and codec["optim"]["lr"] == 3e-4


def test_names_below_the_key_of_the_weights_are_plain_ones(tmp_path):
    part = read_part(saved(tmp_path, "a: 1", exported=True, version="1"))
    assert list(part.stored) == ["a.weight"] and part.config == {"a": 1} and part.pointer == ""


def test_a_json_file_beside_it_comes_first(tmp_path):
    file = saved(tmp_path, "a: 1")
    file.with_suffix(".json").write_text(json.dumps({"a": 2}))
    assert read_part(file).config == {"a": 2}


def test_other_pickles_have_none(tmp_path):
    torch.save({"a": torch.ones(2), "pretrained": "x/y", "note": "text", "xp.cfg": 3}, tmp_path / "a.bin")
    part = read_part(tmp_path / "a.bin")
    assert (part.config, part.pointer) == ({}, "") and notes_in(tmp_path / "a.bin") == {"pretrained": "x/y"}
    torch.save([torch.ones(2), {"xp.cfg": "a: 1"}], tmp_path / "a.bin")
    assert read_part(tmp_path / "a.bin").config == {}


def test_a_pointer_in_place_of_tensors(tmp_path):
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1"}, tmp_path / "a.bin")
    part = read_part(tmp_path / "a.bin")
    assert part.pointer == "facebook/encodec_32khz" and not part.stored and part.config == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: ${b.c}\nb: {c: [1, 2.5, true, null]}", {"a": "${b.c}", "b": {"c": [1, 2.5, True, None]}}),
        ("a: ???", {"a": "???"}),
        ("user: ${oc.env:HOME}\nrun: ${eval:1+1}", {"user": "${oc.env:HOME}", "run": "${eval:1+1}"}),
        ("on: 2001-02-03\n7: 1.0e-05\nnull: x", {"True": "2001-02-03", "7": 1e-5, "None": "x"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("é: 日本", {"é": "日本"}),
        ("a: !!str 3", {"a": "3"}),
    ],
)
def test_values_are_plain(text, wanted):
    assert config_in(FILE, {"xp.cfg": text}) == wanted
    json.dumps(wanted)


def nested(levels: int) -> str:
    return "".join(f"{' ' * level}a:\n" for level in range(levels))


BAD = {
    "nothing": ("", "holds nothing; expected names with values"),
    "a list": ("- a\n- b", "holds list"),
    "a text": ("only words", "holds str"),
    "a number": ("3", "holds int"),
    "no YAML": ("a: [1, 2", "is no readable YAML"),
    "tabs": ("a:\n\tb: 1", "is no readable YAML"),
    "two documents": ("a: 1\n---\nb: 2", "is no readable YAML"),
    "controls": ("a: \x00", "is no readable YAML"),
    "code": ("a: !!python/object/apply:os.system ['true']", "is no readable YAML"),
    "a module": ("a: !!python/name:os.system", "is no readable YAML"),
    "a tag of somebody's": ("a: !mine 3", "is no readable YAML"),
    "a truth that is none": ("a: !!bool 3", "is no readable YAML"),
    "a date that is none": ("a: 2001-99-99", "is no readable YAML"),
    "a time that is none": ("a: !!timestamp 3", "is no readable YAML"),
    "bytes": ("a: !!binary aGk=", "holds b'hi'; expected texts, numbers, lists and tables"),
    "a set": ("a: !!set {b, c}", "expected texts, numbers, lists and tables"),
    "names that are lists": ("? [a, b]\n: 1", "is no readable YAML"),
    "aliases": ("a: &x 1\nb: *x", "holds anchors or aliases"),
    "an anchor alone": ("a: &x [1]", "holds anchors or aliases"),
    "one within itself": ("a: &x [*x]", "holds anchors or aliases"),
    "laughs": ("".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcde", "bcdef")), "holds anchors or aliases"),
    "levels": (nested(200), "is nested deeper than 32 levels"),
    "brackets": ("a: " + "[" * 5000 + "]" * 5000, "is nested deeper than 32 levels"),
    "many values": ("a: [" + "1," * 30_000 + "]", "holds more than 20000 values"),
    "a long value": (f"a: {'x' * 5000}", "holds a value of 5000 characters; accepted are up to 4000"),
    "a long number": (f"a: {'9' * 5000}", "holds a value of 5000 characters"),
    "a long number in sixteens": (f"a: 0x{'f' * 3900}", "holds a number of hundreds of digits"),
    "a long number as a name": (f"? 0x{'f' * 3900}\n: 1", "holds a number of hundreds of digits"),
    "a long text": ("a: 1\n" * 20_000, f"has more than {LONGEST_NOTE} characters"),
    "a huge text": ("x" * 10**7, f"has more than {LONGEST_NOTE} characters"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_config(tmp_path, name):
    text, told = BAD[name]
    file = saved(tmp_path, text)
    began = time.process_time()
    problem = read_part(file).problem
    assert isinstance(problem, MGTError) and time.process_time() - began < 10
    assert str(problem).startswith(f"xp.cfg, the config in {file}, ") and told in str(problem)
    assert is_sentence(str(problem))
    with pytest.raises(MGTError, match="xp.cfg, the config in "):
        mgt_core.load(file, **HERE)


def test_without_the_library_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert "cannot be read without PyYAML" in str(read_part(saved(tmp_path, "a: 1")).problem)
    assert read_part(write_pickle(tmp_path / "b.bin", {"a": tensor(6, 6)}, {"0": bytes(24)})).problem is None


def test_a_text_that_is_named_again_and_again_is_kept_once(tmp_path):
    """Of a pickle the header is remembered: no more of a text than is looked at."""
    held = opcodes({"a": tensor(6, 6), "xp.cfg": "x" * 10**6})
    file = write_pickle(tmp_path / "a.bin", held, {"0": bytes(24)})
    assert len(notes_in(file)["xp.cfg"]) == LONGEST_NOTE + 1


TEXT = st.text("ab :-#'\"\n{}[]&*!?,é日1", max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXT, PLAIN, max_size=6))
def test_what_yaml_writes_is_read_as_it_was(values):
    import yaml

    assert table_of(yaml.safe_dump(values, allow_unicode=True)) == values


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>?,'\"# \n\t%@`~<0123456789.eé\x00\ud800", max_size=60))
def test_any_text_is_a_table_or_told(text):
    try:
        found = config_in(FILE, {"xp.cfg": text})
    except MGTError as error:
        assert str(error).startswith("xp.cfg, the config in state_dict.bin, ")
    else:
        json.dumps(found)


def test_limits_leave_room_for_published_ones():
    text = torch.load(MAGNET / "state_dict.bin", weights_only=True)["xp.cfg"]
    assert len(text) * 4 < LONGEST_NOTE and text.count(":") * 10 < audiocraft.PIECES
