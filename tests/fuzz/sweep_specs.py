"""Specs of sweeps that are not as they should be, and kept folders that were cut, mixed up or cluttered."""

import io
import json
import random
from collections.abc import Callable
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from bench.sweep.run import store_of, sum_up
from bench.sweep.spec import Spec
from bench.sweep.store import MARKS
from bench.sweep.worker import Picture
from mgt_core.errors import MGTError
from mgt_core.files import written_whole
from support.trials import refused

T = TypeVar("T")

SHORT = 120
OUTCOMES = ("read", "refused", "made again", "went on")

LONG, DEEP = b"9" * 5000, b"[" * 3000 + b"]" * 3000
HALF = "\ud800"
ODD = (
    None, True, 0, -1, 1.5, 10**30, 2**64, float("nan"), float("inf"), "", " ", "a", "\0", "../../x", "/", "~", HALF,
    "x" * 300, "a\x1b[31m\n\r\tb", "漢" * 60, "𝒜" * 60, "é" * 60, "CON", [], {}, [[]], [None], [-1], ["a"], {"": {}},
    {"name": None}, {"a": 1}, {"name": "maskgit", "w": []}, [1, 2, 3], [64, 64], ["x" * 100_000], [0] * 300_000,
)  # fmt: skip
NAMES = ("x", "../up", "/abs", "a/b", "\0", "n" * 300, "漢" * 60, "𝒜" * 60, "💥" * 60, ".", "con", "a\nb", HALF)
KEYS = (
    "prompts", "settings", "seeds", "model", "dtype", "negative", "size", "parts", "batch", "sampler", "schedule",
    "steps", "cfg", "temperature", "quantization", "guidance", "token_merging", "token_cache", "name", "keep", "codec",
)  # fmt: skip
ROW = {"seconds": 0.1, "steps": 2, "calls": 2, "passes": 2, "batch": 1, "device": "cpu", "host": "here", "pid": 1}


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    return (spec if draws.random() < 0.6 else folder_of_pictures)(draws, folder)


def usual(folder: Path) -> dict:
    return {
        "model": str(folder / "model"),
        "dtype": "float32",
        "prompts": ["a red heart", "a dog"],
        "negative": "ugly",
        "seeds": [0, 7],
        "size": [64, 64],
        "settings": {
            "plain": {"steps": 8, "sampler": {"name": "masked_zsampling", "end": 0.5}, "temperature": [3.0, 1.0]},
            "merged": {"steps": 8, "token_merging": {"ratio": 0.5}, "quantization": {"name": "w8a16", "keep": ["x"]}},
        },
        "parts": {"text_encoder": str(folder / "model")},
        "batch": 2,
    }


def spec(draws: random.Random, folder: Path) -> str:
    """Read, its jobs listed, and a folder begun for them."""
    values, file, out = usual(folder), folder / "spec.json", folder / "out"
    for _ in range(draws.choice((0, 1, 1, 1, 2, 5))):
        mutate(draws, values)
    data = json.dumps(values).encode()
    file.write_bytes(mangled(draws, data) if draws.random() < 0.3 else data)
    try:
        read = Spec.read(file)
        jobs, store = list(islice(read.jobs(), 50)), store_of(read, out)
    except MGTError as error:
        return refused(error)
    assert not any(map(store.finished, jobs))
    for job in (jobs[0], jobs[-1]):
        with store.claimed(job) as mine, written_whole(store.picture(job)) as partial:
            assert mine and partial.parent == out / "images"
        assert store.picture(job).is_file()
    return "read"


def mutate(draws: random.Random, values) -> None:
    """One change somewhere in a tree of lists and objects."""
    keys = list(values) if isinstance(values, dict) else range(len(values))
    if not keys:
        return
    key, how = draws.choice(keys), draws.randrange(5)
    if isinstance(values[key], (dict, list)) and draws.random() < 0.7:
        mutate(draws, values[key])
    elif how == 0:
        del values[key]
    elif how == 1 and isinstance(values, dict):
        values[draws.choice((*NAMES, *KEYS))] = values.pop(key)
    elif how == 2 and isinstance(values, dict):
        values[draws.choice(KEYS)] = odd(draws)
    elif how == 3:
        values[key] = [values[key]] * (2 if isinstance(values[key], (dict, list)) else draws.choice((3, 1000)))
    else:
        values[key] = odd(draws)


def odd(draws: random.Random):
    return deepcopy(draws.choice(ODD))  # which the next change may change


def mangled(draws: random.Random, data: bytes) -> bytes:
    start = draws.randrange(len(data) + 1)
    stop = start + draws.randrange(20)
    word = draws.choice((b"", b"NaN", b"1e999", b"{", b"\xff\xfe", b"\0", LONG, DEEP, b'"\\ud800"', draws.randbytes(8)))
    return draws.choice((data[:start], data[:start] + word + data[stop:], word))


def folder_of_pictures(draws: random.Random, folder: Path) -> str:
    """What was kept is read or made again; whatever lies there, the sweep comes to its end."""
    wanted, out = Spec(**usual(folder) | {"prompts": ["a dog"], "seeds": [0]}), folder / "out"
    jobs, store = list(wanted.jobs()), store_of(wanted, out)
    pictures = {job.name: picture(draws) for job in jobs}
    for job in jobs:
        store.keep(job, pictures[job.name], 1)
    files = {file: file.read_bytes() for file in sorted(out.rglob("*.*")) if file.suffix != ".lock"}
    for _ in range(draws.choice((1, 1, 2, 4))):
        spoil(draws, draws.choice(list(files)), list(files.values()))
    came = "went on"
    try:
        store = store_of(wanted, out)
    except MGTError as error:
        came = refused(error)
        (out / MARKS).rename(folder / MARKS)  # as it says
        store = store_of(wanted, out)
    for job in jobs:
        if not store.finished(job):
            came = "made again"
            cleared(out, lambda job=job: store.keep(job, pictures[job.name], 1))
        row = store.finished(job)
        assert row["file"] == f"images/{job.name}.png" and row["prompt"] == "a dog" and not row["error"]
        whole = [pixels(io.BytesIO(each.png)) for each in pictures.values()]
        assert pixels(out / row["file"]) in whole
    rows = cleared(out, lambda: sum_up(jobs, store, {}))
    told = json.loads((out / "results.json").read_text())
    assert [row["file"] for row in told] == [row["file"] for row in rows] == [f"images/{job.name}.png" for job in jobs]
    assert not list(out.rglob(".*"))
    return came


def picture(draws: random.Random) -> Picture:
    png = io.BytesIO()
    Image.frombytes("RGB", (16, 16), draws.randbytes(16 * 16 * 3)).save(png, "PNG")
    return Picture(png.getvalue(), ROW)


def pixels(png: Path | io.BytesIO) -> bytes:
    with Image.open(png) as found:
        return found.tobytes()


def spoil(draws: random.Random, file: Path, contents: list[bytes]) -> None:
    """One thing that may have become of a kept file."""
    if not file.is_file():
        return
    data = file.read_bytes()
    kinds: tuple[Callable[[], object], ...] = (
        lambda: file.write_bytes(data[: draws.randrange(len(data) + 1)]),
        lambda: file.write_bytes(b""),
        lambda: file.write_bytes(mangled(draws, data)),
        lambda: file.write_bytes(draws.choice(contents)),  # of another picture
        lambda: file.write_text(json.dumps(odd(draws))),
        lambda: file.unlink(),
        lambda: (file.unlink(), file.mkdir()),
        lambda: (file.unlink(), file.symlink_to(file)),
        lambda: (file.parent / f".{file.name}.01234567.part").write_bytes(data),
        lambda: file.write_text(json.dumps(changed(draws, data))),
    )
    draws.choice(kinds)()


def changed(draws: random.Random, data: bytes):
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, (dict, list)):
        mutate(draws, values)
    return values


def cleared(out: Path, work: Callable[[], T]) -> T:
    """With folders out of the way that stand where files belong, of which it speaks in a sentence."""
    try:
        return work()
    except MGTError as error:
        refused(error)
    for entry in list(out.rglob("*.*")):
        if entry.is_dir():
            entry.rmdir()
    return work()
