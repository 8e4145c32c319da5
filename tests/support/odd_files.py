"""Files that nobody should have to read, made from a random.Random alone: broken JSON, safetensors and pickles, and
what is no file at all."""

import io
import json
import os
import pickle
import random
import socket
import struct
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save

from .pickles import Call, opcodes, tensor, write_pickle

Draws = random.Random

NAMES = [
    "quantize.embedding.weight",
    "decoder.up_blocks.0.resnets.0.conv1.weight",
    "mlm_layer.conv2.weight",
    "context_embedder.weight",
    "tok_emb.weight",
    "transformer.layers.0.attn.wq.weight",
    "text_model.embeddings.token_embedding.weight",
    "embed.word_embeddings.weight",
    "mlm_layer.mlm_dense.weight",
    "a",
]  # by which networks are told, so that what is broken is looked at closely
KEYS = [
    "model_type",
    "architectures",
    "codebook_size",
    "weight_map",
    "description",
    "steps",
    "heads",
    "num_layers",
    "a",
]
TYPES = ["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F31", "", 7, None, ["F32"]]
NUMBERS = [0, 1, -1, 2, 8, 64, 2**31, 2**63, 2**64, 10**39, 10**60, 0.5, 1e308, float("nan"), float("inf"), True]


def some_json(draws: Draws, depth: int = 3) -> object:
    kind = draws.randrange(9 if depth else 6)
    if kind < 3:
        return draws.choice(NUMBERS)
    if kind == 3:
        return draws.choice([None, True, False])
    if kind < 6:
        return draws.choice(["", "clip_text_model", "../../etc/a.safetensors", "\ud800", "a\nb\x1b[31m", "x" * 1000])
    if kind == 6:
        return [some_json(draws, depth - 1) for _ in range(draws.randrange(4))]
    return {draws.choice(KEYS): some_json(draws, depth - 1) for _ in range(draws.randrange(5))}


def damaged(draws: Draws, data: bytes) -> bytes:
    """With a few bytes changed, put in or taken out, or the end cut off."""
    changed = bytearray(data)
    for _ in range(draws.choice([0, 1, 1, 2, 5, 30])):
        at = draws.randrange(len(changed) + 1)
        piece = draws.choice([b"", b"\0", b"\xff" * 8, b"[" * 9, draws.randbytes(3), bytes(changed[:20])])
        changed[at : at + draws.choice([0, len(piece), 1, 8])] = piece
    return bytes(changed[: draws.randrange(len(changed) + 1)] if draws.random() < 0.15 else changed)


def odd_json(draws: Draws) -> bytes:
    kind = draws.randrange(8)
    if kind == 0:
        return draws.choice([b"[", b'{"a":', b'[{"a":']) * draws.choice([10, 900, 50_000])
    if kind == 1:
        return b'{"model_type": "clip", "a": ' + b"9" * draws.choice([30, 41, 5000, 100_000]) + b"}"
    if kind == 2:
        return draws.randbytes(draws.randrange(200))
    if kind == 3:
        return draws.choice([b"", b"null", b"[]", b"7", b'"a"', b"\xef\xbb\xbf{}", b"\0" * 50, b"\xff\xfe{\0}\0"])
    return damaged(draws, json.dumps(some_json(draws)).encode()) if kind < 6 else json.dumps(some_json(draws)).encode()


def odd_safetensors(draws: Draws) -> bytes:
    header, at = {}, 0
    for name in draws.sample(NAMES, draws.randrange(1, 6)):
        shape = [draws.randrange(4) for _ in range(draws.randrange(4))]
        size = 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    for _ in range(draws.choice([0, 1, 1, 2])):
        entry = header[draws.choice(list(header))]
        key = draws.choice(["dtype", "shape", "data_offsets", "more"])
        entry[key] = (
            draws.choice(TYPES) if key == "dtype" else some_json(draws) if draws.random() < 0.3 else some(draws)
        )
    if draws.random() < 0.2:
        header["__metadata__"] = some_json(draws)
    text = odd_json(draws) if draws.random() < 0.15 else json.dumps(header).encode()
    length = draws.choice([2, 2**31, 2**64 - 1, len(text) // 2]) if draws.random() < 0.1 else len(text)
    data = struct.pack("<Q", length) + text + bytes(at)
    return damaged(draws, data) if draws.random() < 0.3 else data


def some(draws: Draws) -> list:
    return [draws.choice(NUMBERS) for _ in range(draws.choice([0, 1, 2, 2, 2, 3, 40]))]


def odd_objects(draws: Draws) -> object:
    """What torch.save takes and nobody calls weights."""
    weights = {name: torch.ones(draws.randrange(3), 2) for name in draws.sample(NAMES, 3)}
    others = [
        lambda: {7: torch.ones(2), 8.5: 1, None: 2, (1, 2): 3},
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.ones(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.nn.Linear(2, 2),
        lambda: torch.nn.Parameter(torch.ones(2)),
        lambda: torch.ones(1).expand(1000, 1000),
        lambda: torch.ones(2, dtype=torch.complex64).conj(),
        lambda: torch.ones(2).to(torch.float8_e5m2),
        lambda: [torch.ones(1)] * 3,
        lambda: OrderedDict(a={"b": {"c": [1, "x", None, 2.5, b"y", {1, 2}]}}),
        lambda: slice(1, 2),
        lambda: torch.float16,
        lambda: 10 ** draws.choice([3, 300]),
    ]
    held = draws.choice(others)()
    kind = draws.randrange(5)
    if kind == 0:
        return held
    if kind == 1:
        return {draws.choice(["model", "state_dict", "model_state_dict", "optimizer"]): weights, "more": held}
    return weights | {draws.choice([*NAMES, 3]): held} if kind < 4 else weights


def odd_opcodes(draws: Draws) -> bytes:
    """A stream of opcodes, most of them those of files of tensors, in any order."""
    pieces = [
        *(pickle.MARK, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_TUPLE, pickle.REDUCE),
        *(pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.APPEND, pickle.APPENDS, pickle.SETITEM),
        *(pickle.SETITEMS, pickle.BUILD, pickle.NEWOBJ, pickle.BINPERSID, pickle.NONE, pickle.NEWTRUE, pickle.DUP),
        *(pickle.BINPUT + b"\0", pickle.BINGET + b"\0", pickle.LONG_BINPUT + b"\xff\xff\xff\xff", pickle.POP),
        *(pickle.LONG1 + b"\xff" * 256, pickle.BINUNICODE8 + b"\xff" * 8, pickle.BYTEARRAY8 + b"\xff" * 5 + b"\0\0\0"),
        *(pickle.BINUNICODE + b"\xff\xff\xff\xff", pickle.FRAME + b"\xff" * 8, pickle.INT + b"9" * 5000 + b"\n"),
        *map(
            opcodes, [b"collections.OrderedDict", b"torch.FloatStorage", b"torch.Tensor", b"os.system", b"torch.Size"]
        ),
        *map(opcodes, [b"torch._utils._rebuild_tensor_v2", b"builtins.bytearray", b"builtins.set", b"torch.qint8"]),
        *map(opcodes, ["a", "storage", "cpu", "0", 1, -1, 2**62, 10**12, 0.5, (), (2, 2), {}, {"a": 1}]),
        *(opcodes(tensor(4, *some_shape(draws), offset=draws.choice([0, 0, 1, -1]))) for _ in range(6)),
        *(opcodes({draws.choice(NAMES): tensor(4, *some_shape(draws))}) for _ in range(4)),
        opcodes(Call(draws.choice([b"builtins.set", b"torch.Size", b"torch.device", b"_codecs.encode"]), "x", "idna")),
    ]
    if draws.random() < 0.1:
        return again(draws)
    chosen = [draws.choice(pieces) for _ in range(draws.randrange(12))]
    if draws.random() < 0.1:
        chosen.append(b")q\0" + b"h\0h\0\x86q\0" * 60 + draws.choice([b"", pickle.NONE + pickle.SETITEM]))
    return b"".join(chosen)


def again(draws: Draws) -> bytes:
    """A large object that is gone through again and again, each time told in a few bytes."""
    names = dict.fromkeys(map(str, range(draws.choice([100, 30_000]))))
    calls = [
        (b"_codecs.encode", ("a" * 10**6, "latin1")),
        (b"collections.OrderedDict", (names,)),
        (b"collections.Counter", (names,)),
        (b"builtins.set", (list(names),)),
        (b"torch.Size", ((1,) * len(names),)),
        (b"torch._dynamo", ()),
    ]
    name, arguments = draws.choice(calls)
    told = opcodes(name) + b"q\0" + pickle.MARK + b"".join(map(opcodes, arguments)) + pickle.TUPLE + b"q\1"
    many = draws.choice([b"h\0h\1R", b"h\1h\1\x86", b"}h\1Ns"]) * 50_000
    return pickle.MARK + told + many + pickle.TUPLE


def some_shape(draws: Draws) -> tuple:
    return tuple(draws.choice([1, 2, 4, 4, 0, -1, 2**40]) for _ in range(draws.randrange(4)))


def odd_pickle(draws: Draws) -> bytes:
    kind, file = draws.randrange(4), io.BytesIO()
    if kind == 0:
        held = {name: tensor(4, *some_shape(draws)) for name in draws.sample(NAMES, 2)}
        stream = odd_opcodes(draws) if draws.random() < 0.7 else opcodes({"a": 1}) + odd_opcodes(draws)
        write_pickle(file, held if draws.random() < 0.3 else stream, {"0": bytes(16)}, packed=draws.random() < 0.2)
        return file.getvalue()
    try:
        torch.save(odd_objects(draws), file, _use_new_zipfile_serialization=draws.random() < 0.6)
    except (TypeError, RuntimeError, AttributeError):  # torch does not save everything in its old format
        file.write(draws.randbytes(50))
    return damaged(draws, file.getvalue()) if kind > 1 else file.getvalue()


def odd_weights(draws: Draws, name: str) -> bytes:
    """For a file of this name; sometimes of another kind."""
    usual = odd_safetensors if name.endswith(".safetensors") else odd_json if name.endswith(".json") else odd_pickle
    return draws.choice([usual] * 9 + [odd_safetensors, odd_json, odd_pickle] + [lambda d: save({"a": torch.ones(1)})])(
        draws
    )


def odd_thing(draws: Draws, path: Path) -> None:
    """What is no file, or none to be read whole."""
    things = [
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to(path),
        lambda: path.symlink_to("."),
        lambda: path.symlink_to(".."),
        lambda: path.symlink_to("nowhere"),
        lambda: path.symlink_to(
            draws.choice(["/dev/zero", "/dev/full", "/dev/tty", "/proc/self", "/sys", "/proc/kmsg"])
        ),
        lambda: listening(path),
        lambda: sparse(path, draws.choice([2**20, 2**33])),
    ]
    draws.choice(things)()


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            opened.bind(f"/proc/self/fd/{folder}/{path.name}"[:100])  # names of sockets are short
        finally:
            os.close(folder)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", size // 2))
        file.truncate(size)
