"""The contact sheet of a sweep."""

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mgt_core.views.pictures import from_pil, labelled_grid, to_pil

SHEET_ROWS = 40
SHEET_SIDE = 256
LETTER = 6  # pixels


def contact_sheet(folder: Path, rows: list[dict]) -> Image.Image | None:
    """A column a setting, a row a prompt and seed, as many as SHEET_ROWS; where a picture could not be made, why."""
    columns = len({row["settings_name"] for row in rows})
    if not rows:
        return None
    pictures = [thumbnail(folder / row["file"]) if row["file"] else None for row in rows[: SHEET_ROWS * columns]]
    size = next((picture.size for picture in pictures if picture), (SHEET_SIDE, SHEET_SIDE))
    pictures = [picture or told(row["error"], size) for picture, row in zip(pictures, rows, strict=False)]
    labels = [f"{row['settings_name']} {row['seed']} {row['prompt']}" for row in rows]
    return to_pil(labelled_grid([from_pil(picture) for picture in pictures], labels, columns)[0])


def thumbnail(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        picture.thumbnail((SHEET_SIDE, SHEET_SIDE))
        return picture.convert("RGB")  # loaded, before the file is closed


def told(error: str, size: tuple[int, int]) -> Image.Image:
    """In place of a picture: why there is none."""
    tile = Image.new("RGB", size, "lightgray")
    lines = textwrap.fill(error, max(8, size[0] // LETTER))
    ImageDraw.Draw(tile).text((2, 2), lines, fill="darkred", font=ImageFont.load_default(11))
    return tile
