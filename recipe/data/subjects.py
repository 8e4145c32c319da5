"""What the demo model can draw: the committed list of subjects, their sprites, and the backgrounds."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
ATLAS_CELL = 128
ATLAS_COLUMNS = 20

# Off the emoji palette's own primaries, so that a red heart shows on red.
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (140, 140, 140),
    "red": (190, 20, 45),
    "orange": (245, 125, 20),
    "yellow": (255, 230, 90),
    "green": (40, 140, 60),
    "blue": (35, 75, 200),
    "purple": (115, 45, 160),
    "pink": (250, 160, 200),
    "brown": (105, 65, 35),
    "cyan": (100, 220, 230),
}


@dataclass(frozen=True)
class Subject:
    name: str
    codepoints: str
    group: str


def save_subjects(subjects: list[Subject], path: Path) -> None:
    lines = ",\n".join(json.dumps(asdict(subject), ensure_ascii=False) for subject in subjects)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_subjects(path: Path) -> list[Subject]:
    return [Subject(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


@functools.cache
def load_subjects() -> tuple[Subject, ...]:
    """The committed list."""
    return tuple(read_subjects(HERE / "subjects.json"))


def save_atlas(sprites: np.ndarray, path: Path, cell: int) -> None:
    """`sprites` [N, S, S, 4] uint8 -> one WebP of `cell`-pixel cells, row by row. It keeps every value, the colours of
    transparent pixels too."""
    rows = -(-len(sprites) // ATLAS_COLUMNS)
    sheet = Image.new("RGBA", (ATLAS_COLUMNS * cell, rows * cell))
    for index, sprite in enumerate(sprites):
        image = resize_rgba(sprite, cell)
        sheet.paste(Image.fromarray(image), (index % ATLAS_COLUMNS * cell, index // ATLAS_COLUMNS * cell))
    sheet.save(path, format="WEBP", lossless=True, exact=True, quality=100, method=6)


def resize_rgba(sprite: np.ndarray, size: int) -> np.ndarray:
    """Resample with premultiplied alpha ("RGBa"), or transparent pixels bleed into the outline."""
    if sprite.shape[0] == size:
        return sprite
    image = Image.fromarray(sprite).convert("RGBa").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image.convert("RGBA"))


@functools.cache
def load_sprites() -> np.ndarray:
    """[N, 128, 128, 4] uint8 from the committed atlas."""
    sheet = np.asarray(Image.open(HERE / "sprites.webp").convert("RGBA"))
    rows = sheet.shape[0] // ATLAS_CELL
    cells = sheet.reshape(rows, ATLAS_CELL, ATLAS_COLUMNS, ATLAS_CELL, 4).transpose(0, 2, 1, 3, 4)
    return cells.reshape(-1, ATLAS_CELL, ATLAS_CELL, 4)[: len(load_subjects())]
