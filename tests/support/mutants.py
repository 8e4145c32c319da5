"""Files spoiled in one place or a few, each in a way that the given `random.Random` decides."""

import copy
import io
import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import torch

DEEP = json.loads("[" * 50 + "]" * 50)
ODD = (
    *(None, True, False, "", "x", "\ud800", "../x", "a\0b", "\x1b[31mred", "9" * 300, "x" * 3000, "true", "float"),
    *(0, 1, 2, 3, 7, -1, -(2**31), 2**31, 2**63, 2**64, 10**6, 10**9, 10**12, 10**18, 10**39),
    *(0.0, 0.5, 1.0, -1.0, 1e-300, 1e30, 1e308, math.nan, math.inf, -math.inf),
    *([], [0], [1, 2], [[]], [None], ["x"], [10**9] * 3, [1] * 300, {}, {"a": 1}, {"": {}}, DEEP),
)
NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e38, 3e38, 1e-40, 65520.0, 1e10)
EXTRA = ("extra", "", "torch_dtype", "num_labels", "dtype", "_name_or_path", "vocab_file", "x" * 999)  # names
KEYS = ("extra.weight", "", 3, (1, 2), None, "\ud800", "x" * 3000)  # of what a pickle holds
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "C64", "X")


def spoiled_file(random: Random, name: str, content: bytes) -> bytes:
    """A file of a bundle, by its name."""
    spoiled = SPOILED.get(Path(name).suffix, spoiled_pickle)
    if random.random() > 0.1:
        with suppress(Exception):  # what has been spoiled before may be none of its kind any more
            return spoiled(random, content)
    return spoiled_bytes(random, content)


def spoiled_bytes(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content)) if content else 0
    return (
        random.choice(
            (
                lambda: content[:place],
                lambda: content[place:],
                lambda: b"",
                lambda: content + random.randbytes(50),
                lambda: content[:place] + random.randbytes(8) + content[place + 8 :],
                lambda: content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :],
                lambda: random.randbytes(300),
                lambda: b"[" * 20_000,
                lambda: b'{"a": ' + b"9" * 5000 + b"}",
                lambda: b"[]",
                lambda: "\ufeff{}".encode(),
                lambda: content.decode("latin-1").encode("utf-16"),
            )
        )()
        if content
        else random.randbytes(9)
    )


def spoiled_json(random: Random, content: bytes) -> bytes:
    return json.dumps(spoiled_value(random, json.loads(content))).encode()


def spoiled_value(random: Random, value: object, times: int | None = None) -> object:
    """JSON with an entry or a few changed, taken out or put in, at any depth."""
    value = copy.deepcopy(value)
    if random.random() < 0.3:  # only just: what is far off is found sooner
        holder, key = random.choice(list(places_of(value)))
        holder[key] = nearby(random, holder[key])
        return value
    for _ in range(times or random.choice((1, 1, 1, 2, 4))):
        places = list(places_of(value))
        if not places or random.random() < 0.02:
            return random.choice(ODD)
        holder, key = random.choice(places)
        change = random.random()
        if change < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif change < 0.25 and isinstance(holder, dict):
            holder[random.choice(("extra", "", "torch_dtype", "num_labels", "dtype", "_name_or_path", "x" * 999))] = (
                odd(random)
            )
        elif change < 0.45:
            holder[key] = nearby(random, holder[key])
        elif change < 0.55:
            other, name = random.choice(places)
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = odd(random)
    return value


def odd(random: Random) -> object:
    return copy.deepcopy(random.choice(ODD))


def nearby(random: Random, held: object) -> object:
    """Like what is there, of its type or nearly."""
    if isinstance(held, bool):
        return random.choice((not held, int(held), str(held)))
    if isinstance(held, (int, float)):
        return random.choice((held + 1, held - 1, held * 2, -held, held / 2, str(held), [held], held * 1000, held**2))
    if isinstance(held, str):
        return random.choice((held + "x", held.upper(), held[:-1], [held], held * 50))
    if isinstance(held, list):
        return random.choice((held * 2, held[:-1], held[::-1], [held], held * 1000, tuple(map(str, held))))
    return random.choice(([held], str(held), list(held or ()), {"a": held}))


def places_of(value: object):
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_of(value[key])


def spoiled_lines(random: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    line = random.choice((b"", b"a", b"a b c", b"\xff\xfe \x00", b"q" * 5000 + b" z", b"zq qz", lines[place]))
    lines[place : place + 1] = [line] * random.choice((0, 1, 1, 3))
    if random.random() < 0.2:
        random.shuffle(lines)
    return b"\n".join(lines)


def spoiled_safetensors(random: Random, content: bytes) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        spoil_tensor(random, header, data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def spoil_tensor(random: Random, header: dict, data: bytearray) -> None:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name = random.choice(names)
    entry, change = header[name], random.random()
    if not isinstance(entry, dict):
        return
    if change < 0.35:
        spoil_numbers(random, entry, data)
    elif change < 0.45:
        spoil_mark(random, header, data, [n for n in names if n.endswith(".comfy_quant")])
    elif change < 0.55:
        entry["dtype"] = random.choice(TYPES)
    elif change < 0.7:
        shape = entry.get("shape") or [1]
        total = math.prod(shape) if all(isinstance(side, int) for side in shape) else 1
        entry["shape"] = random.choice(
            (shape[::-1], [total], [1, *shape], [], [*shape, 0], [2**62, 4], [-1, -total], odd(random), shape[:-1])
        )
    elif change < 0.77:
        entry["data_offsets"] = random.choice(([0, 4], [0, 2**63], [-8, 8], [8, 0], odd(random)))
    elif change < 0.84:
        del header[name]
    elif change < 0.9:
        header[random.choice(("extra.weight", "", "x" * 3000, "a\nb", name + "x", name[:-7]))] = entry
        if random.random() < 0.5:
            del header[name]
    elif change < 0.95:
        other = random.choice(names)
        header[name], header[other] = header[other], entry
    else:
        header["__metadata__"] = spoiled_value(random, header.get("__metadata__", {"format": "pt"}))


def spoil_numbers(random: Random, entry: dict, data: bytearray) -> None:
    """One number of a tensor, or all."""
    try:
        first, last = entry["data_offsets"]
        kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[entry["dtype"]]
        values = torch.frombuffer(data, dtype=torch.uint8)[first:last].view(kind)
        place = slice(None) if random.random() < 0.4 else random.randrange(len(values))
        values[place] = random.choice(NUMBERS)
    except (KeyError, TypeError, ValueError, RuntimeError):
        if data:
            data[random.randrange(len(data))] ^= 0x7F


def spoil_mark(random: Random, header: dict, data: bytearray, marks: list[str]) -> None:
    """What a tensor of JSON says, or JSON in the header."""
    meta = header.get("__metadata__")
    told = [key for key in meta if meta[key][:1] == "{"] if isinstance(meta, dict) else []
    if told and (not marks or random.random() < 0.5):
        key = random.choice(told)
        meta[key] = spoiled_json(random, meta[key].encode()).decode()
    elif marks:
        entry = header[random.choice(marks)]
        first, last = entry["data_offsets"]
        text = spoiled_json(random, bytes(data[first:last]))[:4096]
        entry.update(shape=[len(text)], data_offsets=[len(data), len(data) + len(text)])
        data += text


def spoiled_pickle(random: Random, content: bytes) -> bytes:
    held = torch.load(io.BytesIO(content), weights_only=True)
    tensors = held.get("model", held.get("model_state_dict", held)) if isinstance(held, dict) else {}
    name = random.choice(list(tensors))
    value = tensors[name]
    changes: tuple[Callable[[], object], ...] = (
        lambda: value * math.nan,
        lambda: value + math.inf,
        lambda: value * 1e38,
        lambda: value.to(random.choice((torch.int8, torch.int64, torch.float16, torch.bool, torch.complex64))),
        lambda: value.flatten(),
        lambda: value[None],
        lambda: value[:0],
        lambda: value.mT if value.ndim > 1 else value.sum(),
        lambda: torch.zeros(1).expand(10**9),
        lambda: torch.zeros(1).expand(10**6, *value.shape),
        lambda: value.to_sparse(),
        lambda: value.to("meta"),
        lambda: odd(random),
        lambda: torch.nn.Parameter(value) if value.is_floating_point() else value,
        lambda: value.double() * 1e300,
    )
    for _ in range(random.choice((1, 1, 2))):
        change = random.random()
        if change < 0.15:
            tensors.pop(name, None)
        elif change < 0.3:
            tensors[random.choice(KEYS)] = tensors.pop(name, value)
        else:
            tensors[name] = random.choice(changes)()
    if random.random() < 0.1:
        held = random.choice((tensors, {"state_dict": held}, {"model": {"model": held}}, [held], {3: 4, **tensors}))
    stream = io.BytesIO()
    torch.save(held, stream, _use_new_zipfile_serialization=random.random() < 0.8)
    return stream.getvalue()


SPOILED = {".json": spoiled_json, ".safetensors": spoiled_safetensors, ".txt": spoiled_lines}
