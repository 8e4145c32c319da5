"""Save Image, killed: every picture in the output is whole, none is overwritten, and the next save clears the rest."""

from pathlib import Path

import torch
from PIL import Image

from runner.images import Folders, make_nodes

KILLS = 10


def save(folder: Path, shade: float) -> None:
    nodes, _ = make_nodes(Folders((), folder / "out"))
    nodes["SaveImage"]().save_images(torch.full((3, 16, 16, 3), shade), "pic")


def prepare(folder: Path) -> None:
    save(folder, 1.0)


def act(folder: Path) -> None:
    save(folder, 0.5)


def check(folder: Path, finished: bool) -> None:
    save(folder, 0.0)
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert all(name.startswith("pic_") and name.endswith("_.png") for name in names), names
    shades = []
    for name in names:
        with Image.open(folder / "out" / name) as picture:
            shades.append(picture.getpixel((0, 0))[0])
    made = shades.count(127)
    assert shades == [255] * 3 + [127] * made + [0] * 3 and (made == 3 or not finished), shades
