"""Specs that no sweep could use: one sentence each, before any work; and names that every file system takes."""

import json
import os
from dataclasses import asdict

import numpy as np
import pytest

from bench.sweep import marks
from bench.sweep.__main__ import main
from bench.sweep.run import Cluster, sweep
from bench.sweep.spec import LARGEST_SWEEP, Spec
from bench.sweep.store import Store
from mgt_core.errors import MGTError
from mgt_core.files import written_whole
from support.trials import is_sentence

ODD = "\0\n\x1b[31m../é漢𝒜💥\u202e"


def settings(**values):
    return {"prompts": ["a"], "settings": {"x": values}}


@pytest.mark.parametrize(
    "content, words",
    [
        ("[" * 100_000, "not valid JSON (it is nested deeper than 64 levels"),
        ('{"prompts": [' + "9" * 5000 + "]}", "not valid JSON (it holds a whole number of 5000 digits"),
        ('{"prompts": [' + "9" * 30 + "]}", "expected a list of one or more texts"),
        (b"\xff\xfe", "not valid JSON ("),
        ("", "not valid JSON ("),
        ("null", "has no prompts"),
        ({"prompts": ["a"], "settings": {"\udfff": {}}}, "holds a lone surrogate"),
        (
            {"prompts": ["a"] * 1000, "seeds": [0] * 1000},
            f"asks for 1000000 pictures; one makes at most {LARGEST_SWEEP}",
        ),
        ({"prompts": ["a" * 10_001]}, "has 10001 characters; at most 10000"),
        ({"prompts": ["a"], "negative": "a" * 10_001}, "has 10001 characters; at most 10000"),
        ({"prompts": ["a"], "negative": None}, "negative prompt is None"),
        ({"prompts": ["a"], "dtype": []}, "dtype is []"),
        ({"prompts": ["a"], "seeds": [True]}, "a seed of the sweep is True"),
        ({"prompts": ["a"], "settings": {"x" * 201: {}}}, "expected a name of 1 to 200 characters"),
        ({"prompts": ["a"], "model": 5}, "the sweep's model is 5"),
        ({"prompts": ["a"], "model": "a\0b"}, "the sweep's model is 'a\\x00b'"),
        ({"prompts": ["a"], "model": "a" * 300}, "model is 'aaa"),
        ({"prompts": ["a"], "model": "a" * 5000}, "the sweep's model is 'aaa"),
        ({"prompts": ["a"], "parts": {"codec": None}}, "the sweep's codec is None"),
        (settings(sampler={"name": "maskgit", "temperature": [[]]}), "temperature"),
        (settings(sampler={"name": ["maskgit"]}), "sampler is ['maskgit']"),
        (settings(schedule=[[]]), "schedule is [[]]"),
        (settings(temperature=[1, float("nan")]), "temperature is nan"),
        (settings(guidance=[]), "'x': guidance is []"),
        (settings(token_merging={"ratio": 10**39}), "token merging ratio is 1000"),
        (settings(quantization={"name": "w8a16", "keep": ["x" * 10_000]}), "characters; at most 10000 are accepted"),
        (settings(quantization={"name": "w8a16", "keep": {"a": float("inf")}}), "keep is {'a': inf}"),
    ],
)
def test_odd_specs_give_one_sentence(tmp_path, content, words):
    file = tmp_path / "spec.json"
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as end:
        main([str(file), "--out", str(tmp_path / "out")])
    assert str(end.value).startswith("sweep: ") and is_sentence(str(end.value)) and words in str(end.value)
    assert not (tmp_path / "out").exists()


def test_a_spec_of_python_has_finite_numbers_too(monkeypatch):
    monkeypatch.setattr("bench.sweep.spec.check_settings", lambda name, values: None)  # a part that takes anything
    with pytest.raises(MGTError, match="infinite or none"):
        Spec(["a"], {"x": {"cfg": float("inf")}})


def test_half_a_character_in_a_prompt_is_replaced():
    spec = Spec(["a\ud800"], negative="\udc00b")
    assert (spec.prompts, spec.negative) == (["a\ufffd"], "\ufffdb")


def test_a_spec_of_python_takes_numbers_of_any_library():
    made = {
        "steps": np.int64(2),
        "cfg": np.float32(2),
        "temperature": np.array([1.0, 0.5]),
        "token_cache": {"every": 4.0},
    }
    plain = {"steps": 2, "cfg": 2.0, "temperature": [1.0, 0.5], "token_cache": {"every": 4}}
    ours = Spec(["a"], {"x": made}, np.arange(2), size=(np.int16(64), 64.0), batch=np.int8(2))
    assert ours == Spec(["a"], {"x": plain}, [0, 1], size=[64, 64], batch=2)
    assert json.loads(json.dumps(asdict(ours))) == asdict(ours)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_specs_of_every_editor_are_read(tmp_path, encoding):
    (tmp_path / "spec.json").write_bytes('{"prompts": ["é"]}'.encode(encoding))
    assert Spec.read(tmp_path / "spec.json").prompts == ["é"]


@pytest.mark.parametrize("prompt", [ODD, "漢" * 60, "𝒜" * 60, "💥" * 60, "CON", "a.b", "x" * 10_000])
def test_names_of_files_are_plain_and_short(tmp_path, prompt):
    job = Spec([prompt], {f"s{ODD}": {}}, [2**64 - 1]).job(prompt, 2**64 - 1, f"s{ODD}")
    assert all(c.isalnum() or c in "-_" for c in job.name) and len(os.fsencode(f".{job.name}.json")) <= 216
    store = Store(tmp_path)
    for file in (store.picture(job), store.sidecar(job)):
        with written_whole(file) as partial:
            assert partial.parent == tmp_path / "images"
        assert file.is_file()


def test_a_folder_of_everything_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(marks, "LARGEST_FOLDER", 10)
    for number in range(11):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(MGTError, match="holds more than 10 files; give the folder of one model alone"):
        sweep(Spec(["a"], model=str(tmp_path)), tmp_path / "out")


@pytest.mark.parametrize("asked", [{"workers": 0}, {"gpus": -1}, {"gpus": float("nan")}, {"batch": 1025}])
def test_clusters_that_cannot_be(asked):
    with pytest.raises(MGTError, match=f"{next(iter(asked))} of .* is"):
        Cluster(**asked)
