"""Pictures that no camera made and names that nobody should give, through Load Image and Save Image of run_workflow."""

import contextlib
import io
import os
import random
import struct
import zlib
from pathlib import Path

import torch
from PIL import Image

from runner.images import Folders
from runner.local import execute
from runner.naming import is_inside
from runner.problems import RunError
from runner.validate import validate
from support.fake_nodes import fake_library
from support.trials import refused

SHORT = 200
OUTCOMES = ("loaded", "saved", "refused")
FORMATS = ("PNG", "PNG", "JPEG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PCX", "EPS")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "I", "I;16", "F", "CMYK")
SIDES = (0, 1, 255, 4000, 9000, 65535, 2**31 - 1, 2**32 - 1)
PARTS = (
    *("..", ".", "", "a", "b", ".hidden", " ", ".. ", "...", "a.", "~", "$HOME", "CON", "*", "|", ":", "out", "leads"),
    *("round", "file", "pic [output]", "%date:../../x%", "%date:yyyy/MM%", "%width%", "%wid%date:dth%", "%date%", "%%"),
    *("%date:%", "%year%", "C:", "C:x", "\\", "..\\x", "\\\\server\\share", "/", "\0", "\x1b[2J", "\n", "\ud800"),
    *("\udcff", "\u202e", "é", "x" * 201, "x" * 300, "y" * 100_000, "deep/" * 90, "deep/" * 3000),
)
NAMES = (
    *("in.png", "sub/in.png", "link.png") * 3,
    *("../secret.png", "sub/../in.png", "pipe.png", "round.png", "folder.png"),
)


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    prepare(draws, folder)
    library = fake_library([], Folders((folder / "in",), folder / "out"))
    library.classes["Picture"].run = lambda self, batch: (images(draws, seed),)
    act = draws.choice((load, save))
    beside = around(folder)
    try:
        return act(draws, library, folder)
    except RunError as error:
        return refused(error)
    finally:
        assert around(folder) == beside, "something outside of the output has changed"
        check_output(folder / "out")


def prepare(draws: random.Random, folder: Path) -> None:
    """Folders in and out, and beside them what is none of anyone's business."""
    for name in ("in/sub", "in/folder.png", "out/out", "elsewhere"):
        (folder / name).mkdir(parents=True)
    content = picture_file(draws)
    for name in ("in/in.png", "in/sub/in.png", "secret.png", "out/file"):
        (folder / name).write_bytes(content)
    for name, to in (("out/leads", "elsewhere"), ("out/round", "out/round"), ("in/round.png", "in/round.png")):
        (folder / name).symlink_to(folder / to)
    (folder / "in" / "link.png").symlink_to(folder / "secret.png")
    os.mkfifo(folder / "in" / "pipe.png")
    with contextlib.suppress(OSError):  # not on every file system
        Path(os.fsdecode(os.fsencode(folder / "in") + b"/\xff.png")).write_bytes(content)


def around(folder: Path) -> dict[Path, int]:
    """What lies outside of the output, by size."""
    return {path: path.lstat().st_size for path in folder.rglob("*") if not path.is_relative_to(folder / "out")}


def check_output(output: Path) -> None:
    for path in output.rglob("*"):
        assert path.suffix != ".part", f"left over: {path}"
        if path.is_file() and path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()


def load(draws: random.Random, library, folder: Path) -> str:
    name = draws.choice(NAMES) + draws.choice(("", "", " [input]", " [temp]"))
    if draws.random() < 0.2:
        name = draws.choice((str(folder / "secret.png"), str(folder / "in" / "in.png"), *PARTS))
    if draws.random() < 0.3:
        (mask,) = library.classes["LoadImageMask"]().load_mask(name, draws.choice(("alpha", "red", "", "x", None)))
        assert mask.ndim == 3 and bool(((mask >= 0) & (mask <= 1)).all())
        return "loaded"
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    if problems := validate(prompt, library.object_info, custom=library.custom_check):
        return refused(RunError(problems[0]))
    assert all(path.parent == folder / "out" / "temp" for path in execute(prompt, library))
    return "loaded"


def save(draws: random.Random, library, folder: Path) -> str:
    prefix = draws.choice(("", "", "/")) + draws.choice("//\\").join(draws.choices(PARTS, k=draws.randint(1, 3)))
    if draws.random() < 0.2:
        prefix = "pic"
    prompt = {
        "1": {"class_type": "Picture", "inputs": {"batch": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    if problems := validate(prompt, library.object_info, custom=library.custom_check):
        return refused(RunError(problems[0]))
    notes = {"workflow": {"\0\ud800é": [float("nan")] * 3}, "mgt_settings": "x" * 2_000_000, "é\n": 1}
    saved = execute(prompt, library, notes if draws.random() < 0.1 else None)
    assert saved and all(path.is_file() and is_inside(path, folder / "out") for path in saved)
    return "saved"


def images(draws: random.Random, seed: int):
    plain = torch.rand(draws.randint(1, 2), 8, 6, 3, generator=torch.Generator().manual_seed(seed))
    if draws.random() < 0.4:
        return plain
    return draws.choice(
        (
            lambda: plain * draws.choice((1e38, -5.0, float("nan"), float("inf"))),
            lambda: plain[..., :1].expand(-1, -1, -1, draws.choice((0, 1, 2, 4, 5))),
            lambda: plain[:0],
            lambda: plain[:, :0],
            lambda: plain[0],
            lambda: plain[None],
            lambda: plain.to(draws.choice((torch.float16, torch.float64, torch.uint8, torch.complex64, torch.bool))),
            lambda: torch.zeros(1, 1, 1, 1).expand(1, 2**20, 2**20, 3),
            lambda: torch.zeros(1, 1, 1, 1).expand(2**40, 4, 4, 3),
            lambda: plain.to("meta"),
            lambda: draws.choice((None, [], "picture", 3)),
        )
    )()


def picture_file(draws: random.Random) -> bytes:
    """A picture file, whole or spoiled."""
    spoil = draws.choice((None, None, flipped, cut, resized, resized, swapped, padded))
    content = encoded(draws)
    return content if spoil is None else spoil(draws, content)


def encoded(draws: random.Random) -> bytes:
    size = draws.randint(1, 40), draws.randint(1, 40)
    mode, kind = draws.choice(MODES), draws.choice(FORMATS)
    picture = Image.frombytes("RGB", size, draws.randbytes(3 * size[0] * size[1])).convert("L").convert(mode)
    exif, options = Image.Exif(), {}
    exif[0x0112] = draws.choice((1, 3, 6, 8, 0, 999, b"up"))
    if draws.random() < 0.3:
        options = {"save_all": True, "append_images": [picture.resize((9, 9)), picture]}
    if draws.random() < 0.3:
        options["transparency"] = draws.choice((0, 255, b"", b"\0" * 300, (1, 2, 3)))
    for shown, more in ((picture, {"exif": exif, **options}), (picture, {}), (picture.convert("RGB"), {"exif": exif})):
        with contextlib.suppress(Exception):  # not every format takes every mode
            file = io.BytesIO()
            shown.save(file, kind, **more)
            return file.getvalue()
    return draws.randbytes(200)


def flipped(draws: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(draws.randint(1, 12)):
        data[draws.randrange(min(len(data), draws.choice((64, 10**6))))] = draws.randrange(256)
    return bytes(data)


def cut(draws: random.Random, content: bytes) -> bytes:
    return content[: draws.randrange(len(content))]


def resized(draws: random.Random, content: bytes) -> bytes:
    """With another size in its head, where that is easily found, and checksums that agree."""
    width, height = draws.choice(SIDES), draws.choice(SIDES)
    if content.startswith(b"\x89PNG"):
        head = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    if content.startswith(b"GIF8"):
        return content[:6] + struct.pack("<HH", width % 65536, height % 65536) + content[10:]
    if content.startswith(b"BM"):
        return content[:18] + struct.pack("<II", width, height) + content[26:]
    if (place := content.find(b"\xff\xc0")) > 0:
        return content[: place + 5] + struct.pack(">HH", height % 65536, width % 65536) + content[place + 9 :]
    return flipped(draws, content)


def swapped(draws: random.Random, content: bytes) -> bytes:
    """Two pieces in each other's place."""
    a, b = sorted(draws.choices(range(len(content) + 1), k=2))
    return content[:a] + content[b:] + content[a:b]


def padded(draws: random.Random, content: bytes) -> bytes:
    return draws.choice((content + draws.randbytes(500), content + content, b"", b"\0" + content))
