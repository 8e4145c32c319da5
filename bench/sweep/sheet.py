"""The contact sheet of a sweep."""

import logging
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mgt_core.errors import shown_text
from mgt_core.views.pictures import from_pil, labelled_grid, to_pil

SHEET_ROWS = 40
SHEET_COLUMNS = 40  # of more settings the first ones are shown
SHEET_PICTURES = 240  # which take a gigabyte of memory while the sheet is made
SHEET_SIDE = 256
LETTER = 6  # pixels
LABEL = 100  # letters, more than fit the width of any picture of a sheet
UNREADABLE = "the picture cannot be read"

log = logging.getLogger(__name__)


def contact_sheet(folder: Path, rows: list[dict]) -> Image.Image | None:
    """A column a setting, a row a prompt and seed, as many as there is room for; where there is no picture, why."""
    if not rows:
        return None
    names = list(dict.fromkeys(row["settings_name"] for row in rows))[:SHEET_COLUMNS]
    columns = len(names)
    room = columns * min(SHEET_ROWS, SHEET_PICTURES // columns)
    rows = [row for row in rows if row["settings_name"] in names][:room]
    pictures = [thumbnail(folder / row["file"]) if row["file"] else None for row in rows]
    size = next((picture.size for picture in pictures if picture), (SHEET_SIDE, SHEET_SIDE))
    pictures = [picture or told(row["error"] or UNREADABLE, size) for picture, row in zip(pictures, rows, strict=True)]
    labels = [shown_text(f"{row['settings_name']} {row['seed']} {row['prompt']}", LABEL) for row in rows]
    return to_pil(labelled_grid([from_pil(picture) for picture in pictures], labels, columns)[0])


def thumbnail(file: Path) -> Image.Image | None:
    """None for a picture that cannot be read."""
    try:
        with Image.open(file) as picture:
            picture.thumbnail((SHEET_SIDE, SHEET_SIDE))
            return picture.convert("RGB")  # loaded, before the file is closed
    except Exception as error:  # a broken file fails in many ways
        log.debug("%s is not shown: %s", file, error)
        return None


def told(error: str, size: tuple[int, int]) -> Image.Image:
    """In place of a picture: why there is none."""
    tile = Image.new("RGB", size, "lightgray")
    lines = textwrap.fill(error, max(8, size[0] // LETTER))
    ImageDraw.Draw(tile).text((2, 2), lines, fill="darkred", font=ImageFont.load_default(11))
    return tile
