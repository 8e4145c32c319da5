"""What benches read of what they kept."""

import json

import numpy as np
import pytest

from bench.device.journal import Journal
from bench.kept import cleaned, json_in, kept, pictures_in
from bench.quality.suites.store import Pictures
from mgt_core.errors import MGTError


def test_what_cannot_be_read_is_none_and_told_once(tmp_path, caplog):
    file = tmp_path / "a\x1b.json"
    assert kept(file, json_in) is None and not caplog.messages
    file.write_text("{")
    assert kept(file, json_in) is None and kept(file, json_in) is None
    (said,) = caplog.messages
    assert said.startswith(f"{tmp_path / 'a'}\\x1b.json cannot be read (") and said.endswith(", and is made again")
    file.write_text('{"a": 1}')
    assert kept(file, json_in) == {"a": 1}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "it is empty"),
        (b"\xff", "line 1 holds the byte 0xff"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64 levels"),
        (b"[" + b"9" * 5000 + b"]", "a whole number of 5000 digits"),
        (b"[" + b"1," * 600 + b"1]", "larger than 0 MiB"),
    ],
)
def test_json_that_is_none_or_too_much_is_one_kind_of_error(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        json_in(tmp_path / "a.json", *([1000] if "MiB" in words else []))


def test_numbers_that_json_does_not_have_are_left_out():
    assert cleaned({"a": (1.0, float("inf"), [float("nan")])}) == {"a": [1.0, None, [None]]}


def test_pictures_are_whole_or_none(tmp_path):
    file, pictures = tmp_path / "a.npz", Pictures(np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3), 1, 2, 0.5)
    np.savez_compressed(file, **vars(pictures))
    whole = file.read_bytes()
    found = pictures_in(file, Pictures)
    assert (found.images == pictures.images).all() and (found.calls, found.passes, found.seconds) == (1, 2, 0.5)
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert kept(file, lambda file: pictures_in(file, Pictures)) is None
    for broken in ({"images": np.zeros(3, np.uint8)}, {"images": np.zeros((1, 2, 4, 3))}, {"other": np.zeros(3)}):
        np.savez_compressed(file, **{**vars(pictures), **broken})
        assert kept(file, lambda file: pictures_in(file, Pictures)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"parts": []}', '{"parts": {"a": 1}}'])
def test_a_journal_that_is_none_is_a_sentence(tmp_path, content):
    file = tmp_path / "out.json"
    file.write_text(content)
    with pytest.raises(MGTError, match="out.json cannot be read .*; begin the bench again"):
        Journal.open(file)
    with pytest.raises(MGTError, match="cannot be written"):
        Journal(file / "below").save()
    Journal(file, {"parts": {"a": {"b": {"status": "done", "figures": float("nan")}}}}).save()
    assert Journal.open(file).entry("a", "b") == {"status": "done", "figures": None}
    json.loads(file.read_text(), parse_constant=pytest.fail)
