"""Whatever lies on a disk is read or refused in a sentence, and never waited for."""

import json
import os
import socket
import struct
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mgt_core import MGTError
from mgt_core.loading import disk, layouts, stored, weights
from runner import bounded
from support.trials import is_sentence

POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


ODD = {
    "pipe": (pipe, "no regular file"),
    "socket": (listening, "no regular file"),
    "folder": (Path.mkdir, "a folder"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "loop": (lambda path: path.symlink_to(path), "cannot be read|is missing"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "is missing"),
    "nothing": (lambda path: None, "is missing"),
}


@POSIX
@pytest.mark.parametrize("make, words", ODD.values(), ids=ODD)
@pytest.mark.parametrize("read", [disk.read_json, stored.read_header, weights.index_pickle, weights.open_pickle])
def test_what_is_no_regular_file(tmp_path, read, make, words):
    make(tmp_path / "odd.json")
    with pytest.raises(MGTError, match=f"odd.json .*({words})"):
        read(tmp_path / "odd.json")


@pytest.mark.parametrize("read", [disk.read_json, stored.read_header, weights.index_pickle, weights.open_pickle])
def test_what_the_system_does_not_let_be_read(tmp_path, monkeypatch, read):
    (tmp_path / "a.json").write_text("{}")

    def refuse(*args, **settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MGTError, match=r"a.json cannot be read \(Permission denied\)"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800", "~\0", "~\ud800", "nothing\nhere"])
def test_names_that_no_file_has(tmp_path, name):
    for read in (disk.read_json, stored.read_header, weights.index_weights, weights.open_weights):
        with pytest.raises(MGTError) as caught:
            read(tmp_path / name)
        assert is_sentence(str(caught.value))
    for source in (name, tmp_path / name):
        with pytest.raises(MGTError) as caught:
            layouts.find_bundle(source)
        assert is_sentence(str(caught.value))


JSON = {
    "deep": (b"[" * 100_000, "nested deeper than 64"),
    "deep and whole": (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 64"),
    "many lists": (b'{"a": [' + b"[]," * 200_000 + b"0]}", "more than 200000 lists and objects"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "number of 5000 digits; accepted are up to 40"),
    "not text": (b"\xff\xfe{}", "is not valid JSON"),
    "a list": (b"[]", "holds list; expected a JSON object"),
    "nothing": (b"", "is not valid JSON"),
    "zeros": (bytes(100), "is not valid JSON"),
}


@pytest.mark.parametrize("content, words", JSON.values(), ids=JSON)
def test_json_that_is_none(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(MGTError, match=words) as caught:
        disk.read_json(tmp_path / "a.json")
    assert is_sentence(str(caught.value))


TEXTS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1), st.sampled_from(TEXTS), st.booleans())
def test_json_in_every_encoding_that_json_tells(value, encoding, marked):
    text = json.dumps(value, ensure_ascii=False)
    assert disk.parse_json(f"{chr(0xFEFF) * marked}{text}".encode(encoding)) == value


@given(st.binary(max_size=8) | st.tuples(st.text(max_size=4), st.sampled_from(TEXTS)).map(lambda x: x[0].encode(x[1])))
def test_workflows_are_read_as_other_texts_are(data):
    """The runner has this reading of its own, since it also runs where there is no library."""
    found = []
    for read in (disk.text_of, bounded.text_of):
        try:
            found.append(read(data))
        except ValueError as error:
            found.append((type(error), str(error)))
    assert found[0] == found[1]


def test_half_a_character_is_read_as_it_is():
    for data in (b'["\\ud83d"]', '["\ud83d"]'.encode("utf-16", "surrogatepass"), b'["\xed\xa0\xbd"]'):
        assert disk.parse_json(data) == ["\ud83d"]


FAULTS = {
    "Latin-1": (
        '{\n"a": "é"}'.encode("latin-1"),
        "it is no text in UTF-8: line 2 holds the byte 0xe9; save it as UTF-8",
    ),
    "cut UTF-16": ('{"a": 1}'.encode("utf-16") + b"\0", "it is no text in UTF-16"),
    "nothing": (b"", "it is empty"),
    "a mark alone": (b"\xef\xbb\xbf\n", "it is empty"),
    "a comment": (b'{\n// so\n"a": 1}', "Expecting property name enclosed in double quotes: line 2 column 1"),
    "a comma": (b'{"a": [1,]}', "line 1 column"),
}


@pytest.mark.parametrize("content, words", FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_with_json_is_told(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(MGTError, match="a.json is not valid JSON") as caught:
        disk.read_json(tmp_path / "a.json")
    assert words in str(caught.value) and is_sentence(str(caught.value))


def test_texts_as_people_have_them(tmp_path):
    file = tmp_path / "caption.txt"
    for encoding in TEXTS:
        file.write_bytes("a café\n漢".encode(encoding))
        assert disk.read_text(file) == "a café\n漢"
    file.write_bytes("a\ncaf\u00e9".encode("cp1252"))
    with pytest.raises(
        MGTError, match=r"caption\.txt cannot be read: it is no text in UTF-8: line 2 holds the byte 0xe9"
    ):
        disk.read_text(file)
    file.write_bytes(b"a" * (disk.MAX_TEXT + 1))
    with pytest.raises(MGTError, match="has 1048577 bytes; accepted are up to 1048576"):
        disk.read_text(file)


def test_json_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(MGTError, match="has 8589934592 bytes; accepted are up to 4194304"):
        disk.read_json(tmp_path / "a.json")


def test_json_as_people_have_it(tmp_path):
    value = {"a": [1, -2.5, True, None], "ä": {"b": 10**39}, "far": 1e300}
    (tmp_path / "a.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert disk.read_json(tmp_path / "a.json") == value


def entry(shape=(2,), begin=0, end=8, kind="F32", **more) -> dict:
    return {
        "dtype": kind,
        "shape": list(shape) if isinstance(shape, tuple) else shape,
        "data_offsets": [begin, end],
    } | more


HEADERS = {
    "a negative size": {"a": entry((-2,))},
    "a size of half": {"a": entry((0.5,))},
    "a size of text": {"a": entry(("2",))},
    "a size of yes": {"a": entry((True, 2))},
    "a shape of text": {"a": entry("22")},
    "a shape of nothing": {"a": entry(None)},
    "a large shape": {"a": entry((2**40, 2**40))},
    "larger than 64 bits": {"a": entry((10**39,), end=4 * 10**39)},
    "many dimensions": {"a": entry((1,) * 1000, end=4)},
    "a place before": {"a": entry(begin=-8, end=0)},
    "a place between": {"a": entry(begin=0.0)},
    "a place that is not": {"a": entry() | {"data_offsets": [0]}},
    "an end before": {"a": entry(begin=8, end=0)},
    "overlapping": {"a": entry(), "b": entry(begin=4, end=12)},
    "twice": {"a": entry(), "b": entry()},
    "a hole": {"a": entry(begin=8, end=16)},
    "an unknown type": {"a": entry(kind="F31")},
    "a type of list": {"a": entry(kind=["F32"])},
    "no type": {"a": {"shape": [2], "data_offsets": [0, 8]}},
    "fewer bytes than numbers": {"a": entry((3,))},
    "metadata of a list": {"__metadata__": [1], "a": entry()},
    "metadata of numbers": {"__metadata__": {"a": 1}, "a": entry()},
    "a number": 7,
    "entries of text": {"a": "b"},
    "deep": b'{"a":' * 50_000,
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "not text": b"\xff" * 100,
}


def write_header(file: Path, header: object, data: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_safetensors_that_cannot_be(tmp_path, name):
    file = write_header(tmp_path / "a.safetensors", HEADERS[name])
    with pytest.raises(MGTError, match="a.safetensors is (not a readable safetensors file|truncated)") as caught:
        stored.read_header(file)
    assert is_sentence(str(caught.value))


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_lengths_of_headers_that_cannot_be(tmp_path, length):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(MGTError, match="no valid header"):
        stored.read_header(tmp_path / "a.safetensors")


def test_a_header_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2**33))
        file.truncate(2**34)
    with pytest.raises(MGTError, match="no valid header, which may have 16777216 bytes"):
        stored.read_header(tmp_path / "a.safetensors")


TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool]


def test_headers_as_people_have_them(tmp_path):
    held = {str(kind): torch.zeros(3, 2).to(kind) for kind in TYPES} | {
        "none": torch.zeros(0, 4),
        "one": torch.ones(()),
    }
    save_file(held, tmp_path / "a.safetensors", {"format": "pt"})
    told = stored.read_header(tmp_path / "a.safetensors")
    assert {name: entry.shape for name, entry in told.items()} == {n: tuple(v.shape) for n, v in held.items()}
    assert {name: entry.size for name, entry in told.items()} == {n: v.nbytes for n, v in held.items()}
    assert told["one"].metadata == {"format": "pt"}


SHARDS = ["../a.safetensors", "/etc/a.safetensors", "C:a.safetensors", "..\\a.safetensors", "a.bin"]


@pytest.mark.parametrize("name", SHARDS)
def test_shards_that_lie_elsewhere(tmp_path, name):
    folder = tmp_path / "model"
    (folder / "b").mkdir(parents=True)
    for place in (tmp_path, folder / "b"):
        save_file({"a": torch.ones(1)}, place / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(MGTError, match="expected names of .safetensors files beside it"):
        weights.index_weights(folder)


def test_more_shards_than_any_model_has(tmp_path):
    names = {f"{number}": f"{number}.safetensors" for number in range(1001)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(MGTError, match="names 1001 shards; accepted are up to 1000"):
        weights.index_weights(tmp_path)


def test_folders_and_pipes_are_no_weights(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    (tmp_path / "model.bin.index.json").mkdir()
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "model.bin")
    with pytest.raises(MGTError, match="holds no weights"):
        weights.index_weights(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert list(weights.index_weights(tmp_path)) == ["a"]


def test_tensors_that_cannot_be_taken(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1)}, file)
    with pytest.raises(MGTError, match="a.safetensors does not give its tensor b"):
        weights.open_weights(file)("b")
    file.write_bytes(b"")
    with pytest.raises(MGTError, match="a.safetensors is not a readable safetensors file"):
        weights.open_weights(file)
