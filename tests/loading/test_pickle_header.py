"""What a file of torch.save holds is told without torch.load, and what it cannot be is refused before."""

import os
import pickle
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch

from mgt_core import MGTError
from mgt_core.loading import pickle_header, weights
from mgt_core.loading.listing import one_list
from support.pickles import Call, opcodes, storage, tensor, write_pickle
from support.trials import is_sentence


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.tied = self.layer.weight
        self.register_buffer("eight", torch.zeros(3).to(torch.float8_e4m3fn))
        self.register_buffer("empty", torch.zeros(0, 5))
        self.register_buffer("turned", torch.zeros(6, 2)[1:].T)
        self.tied.note = "ours"


NETWORK = Network()
BESIDE = {
    "epoch": 3,
    "loss": [0.5, 1e300],
    "optimizer": torch.optim.Adam(NETWORK.parameters()).state_dict(),
    "names": {"a", "b"},
    "counts": Counter("aab"),
    "bytes": b"\0\xff",
    "kind": torch.float16,
    "size": torch.Size([2, 3]),
    "device": torch.device("cpu"),
    "large": 2**59,
    "nothing": None,
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize(
    "held",
    [
        NETWORK.state_dict(),
        {"model": dict(NETWORK.named_parameters()), **BESIDE},
        OrderedDict(state_dict={"module.a": torch.ones(2, 3)[:, 1], 7: torch.ones(1), "n": 3}),
        {"model_state_dict": {"model": {"x": torch.ones(1, dtype=torch.bool)}}},
        [torch.ones(2)],
        {},
    ],
    ids=["state", "training", "wrapped", "nested", "list", "empty"],
)
def test_the_header_says_what_torch_loads(tmp_path, held, zipped):
    file = tmp_path / "weights.pt"
    if not zipped:
        held = {name: value for name, value in held.items() if name != "eight"} if isinstance(held, dict) else held
    torch.save(held, file, _use_new_zipfile_serialization=zipped)
    told, loaded = weights.index_pickle(file), weights.open_pickle(file)
    assert {n: (e.shape, e.size) for n, e in told.items()} == {n: (tuple(v.shape), v.nbytes) for n, v in loaded.items()}


def test_the_header_is_read_without_torch(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(3)}, tmp_path / "weights.pt")
    monkeypatch.setattr(torch, "load", lambda *args, **settings: pytest.fail("it is loaded"))
    assert weights.index_pickle(tmp_path / "weights.pt")["a"].shape == (3,)


NUMBERS = {"0": bytes(4 * 6), "1": bytes(4 * 6 * 10**4)}


def nested_key(levels: int) -> bytes:
    """A dictionary by a tuple of tuples, each of which holds the one before twice."""
    key = b")q\x00" + b"h\x00h\x00\x86q\x00" * levels
    return pickle.EMPTY_DICT + key + opcodes(1) + pickle.SETITEM


def again(name: bytes, *arguments: object, times: int = 1000) -> bytes:
    """A function with the same arguments many times, each told in a few bytes."""
    told = opcodes(name) + b"q\x00" + b"".join(map(opcodes, arguments))
    tuples = {1: pickle.TUPLE1, 2: pickle.TUPLE2}[len(arguments)]
    return pickle.MARK + told + tuples + b"q\x01" + b"h\x00h\x01R" * times + pickle.TUPLE


SIX = tensor(6, 6)
HELD = {
    "more numbers than data": {"a": tensor(7, 7)},
    "no data": {"a": tensor(6, 6, key="2")},
    "a shape beyond its data": {"a": tensor(6, 1000, 1000)},
    "one number spread out": {"a": tensor(6, 10**6, 10**6, strides=(0, 0))},
    "beyond the end": {"a": tensor(6, 6, offset=1)},
    "a large step": {"a": tensor(6, 3, strides=(10**12,))},
    "a negative size": {"a": tensor(6, -6)},
    "a negative place": {"a": tensor(6, 6, offset=-1)},
    "a size of text": {"a": Call(b"torch._utils._rebuild_tensor_v2", storage(6), 0, ("6",), (1,), False, {})},
    "many dimensions": {"a": tensor(6, *[1] * 1000)},
    "data of two kinds": {"a": tensor(6, 6), "b": tensor(3, 3)},
    "the data many times": {f"{number}": tensor(6 * 10**4, 6 * 10**4, key="1") for number in range(9)},
    "a type for data": {"a": Call(b"torch.FloatStorage", 10**12)},
    "room for numbers": {"a": Call(b"torch.storage.UntypedStorage", 10**12)},
    "a tensor made": {"a": Call(b"torch.Tensor", 10**6, 10**6)},
    "a parameter made": {"a": Call(b"torch.nn.parameter.Parameter", 3)},
    "bytes made": {"a": Call(b"builtins.bytearray", 10**12)},
    "code": {"a": Call(b"os.system", "true")},
    "a codec of bytes": {"a": Call(b"_codecs.encode", "x" * 100, "idna")},
    "a parameter's own data": {"a": Call(b"torch._utils._rebuild_parameter_with_state", SIX, True, {}, {"data": 1})},
    "keys that take for ever": nested_key(60),
    "numbers that collide": {2**61 * number: 1 for number in range(3)},
    "a set that takes for ever": {"a": Call(b"builtins.set", ((),) + (((1,), 2),))},
    "methods hidden": opcodes(Call(b"collections.OrderedDict")) + opcodes({"items": 3}) + pickle.BUILD,
    "lists without end": b"]" * 2_000_000,
    "no object": b"",
    "a key of many parts": pickle.EMPTY_DICT + opcodes({(1,) * 17: 1}),
    "a long key": {"a" * 20_000: 1},
    "tuples that collide": {(2**40, 1): 1},
    "a module of torch": opcodes(b"torch._dynamo"),
    "long bytes again and again": again(b"_codecs.encode", "a" * 10**5, "latin1"),
    "a long dictionary again and again": again(b"collections.OrderedDict", dict.fromkeys(map(str, range(1000)))),
    "a long tally again and again": again(b"collections.Counter", dict.fromkeys(map(str, range(1000)))),
    "a long set again and again": again(b"builtins.set", list(range(1000))),
    "a long shape": {"a": Call(b"torch.Size", (1,) * 17)},
    "a text taken apart": {"a": Call(b"builtins.set", "ab")},
    "attributes again and again": opcodes(dict.fromkeys(map(str, range(1000)))) + b"q\0" + b"h\0b" * 100,
    "an opcode for a long text": pickle.BINUNICODE8 + b"\xff" * 8,
    "an opcode for much memory": pickle.BYTEARRAY8 + b"\xff\xff\xff\xff\xff\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_what_no_torch_save_writes(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch, "load", lambda *args, **settings: pytest.fail("it is loaded"))
    monkeypatch.setattr(pickle_header, "PIECES", 10_000)  # for speed
    file = write_pickle(tmp_path / "odd.pt", HELD[name], NUMBERS)
    for reading in (weights.index_pickle, weights.open_pickle):
        with pytest.raises(MGTError, match="odd.pt is not a readable file of tensors: its? ") as caught:
            reading(file)
        assert is_sentence(str(caught.value))


def test_remembered_places_need_no_memory(tmp_path):
    file = write_pickle(tmp_path / "far.pt", opcodes({"a": tensor(6, 6)}), NUMBERS, more=b"r\xff\xff\xff\xff")
    assert weights.index_pickle(file)["a"].shape == (6,)


def odd_tensors() -> dict:
    return {
        "sparse": torch.eye(3).to_sparse(),
        "compressed": torch.eye(3).to_sparse_csr(),
        "meta": torch.zeros(3, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "network": torch.nn.Linear(2, 2),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("name", odd_tensors())
def test_tensors_of_other_kinds(tmp_path, name, zipped):
    torch.save({"a": odd_tensors()[name]}, tmp_path / "odd.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(MGTError, match="odd.pt is not a readable file of tensors: it holds "):
        weights.open_pickle(tmp_path / "odd.pt")


ARCHIVES = {
    "compressed": lambda file: write_pickle(file, {"a": tensor(6, 6)}, NUMBERS, packed=True),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-30]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "begun anew": lambda file: file.write_bytes(b"PK\x03\x04" + file.read_bytes()),
    "of nothing": lambda file: zipfile.ZipFile(file, "w").close(),
    "of pictures": lambda file: zipfile.ZipFile(file, "w").writestr("a.png", b""),
    "twice the same": lambda file: zipfile.ZipFile(file, "a").writestr("archive/DATA.pkl", b""),
    "no archive": lambda file: file.write_bytes(b"PK\x03\x04" + bytes(500)),
    "old and cut": lambda file: file.write_bytes(old_format(file)[:-8]),
    "old without order": lambda file: file.write_bytes(old_format(file).replace(b"a.", b"]a.")),
    "a few bytes": lambda file: file.write_bytes(b"\x80\x02"),
    "zeros": lambda file: file.write_bytes(bytes(1000)),
}


def old_format(file: Path) -> bytes:
    torch.save({"a": torch.ones(6)}, file, _use_new_zipfile_serialization=False)
    return file.read_bytes()


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_torch_save_does_not_write(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch, "load", lambda *args, **settings: pytest.fail("it is loaded"))
    file = write_pickle(tmp_path / "odd.pt", {"a": tensor(6, 6)}, NUMBERS)
    assert weights.index_pickle(file)
    ARCHIVES[name](file)
    with pytest.raises(MGTError, match="odd.pt is not a readable file of tensors: it "):
        weights.open_pickle(file)


def test_a_bomb_costs_nothing(tmp_path, monkeypatch):
    file = write_pickle(tmp_path / "bomb.pth", {"a": tensor(25 * 10**5, 25 * 10**5)}, {"0": bytes(10**7)}, packed=True)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: pytest.fail("it is unpacked"))
    assert file.stat().st_size < 10**5
    with pytest.raises(MGTError, match="it is compressed"):
        weights.index_pickle(file)


def test_a_file_is_read_again_only_once_it_is_another(tmp_path, monkeypatch):
    file, read = tmp_path / "weights.pt", []
    monkeypatch.setattr(weights, "read_pickle", lambda path: read.append(path) or pickle_header.read_pickle(path))
    for size in (1, 2):
        torch.save({"a": torch.ones(size)}, file)
        os.utime(file, (size, size))
        for _ in range(3):
            assert weights.index_pickle(file)["a"].shape == (size,) == weights.open_pickle(file)["a"].shape
    assert len(read) == 2


def test_numbers_for_names_in_the_old_format(tmp_path):
    """As a set, these would take a minute."""
    file = tmp_path / "old.pt"
    parts = [pickle_header.MAGIC, pickle_header.VERSION, {}, {}, [(2**61 - 1) * number for number in range(20_000)]]
    file.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    started = time.process_time()
    with pytest.raises(MGTError, match="its data is not that of its tensors"):
        weights.index_pickle(file)
    assert time.process_time() - started < 1


def test_a_log_beside_the_weights(tmp_path):
    log = [{"epoch": n, "loss": n / 7, "lr": n / 8, "acc": n / 9} for n in range(20_000)]
    torch.save({"model": {"a": torch.ones(1)}, "log": log, "order": list(range(200_000))}, tmp_path / "weights.pt")
    assert list(weights.index_weights(tmp_path / "weights.pt")) == ["a"]


def test_a_list_reads_less(tmp_path):
    torch.save({"a": torch.ones(1), "order": list(range(pickle_header.LISTED // 2))}, tmp_path / "weights.pt")
    with one_list(), pytest.raises(MGTError, match=f"more beside its tensors than is read .{pickle_header.LISTED}"):
        weights.index_pickle(tmp_path / "weights.pt")
    assert weights.index_pickle(tmp_path / "weights.pt")
