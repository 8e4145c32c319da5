"""The contact sheet of a sweep."""

from pathlib import Path

from PIL import Image

from mgt_core.views.pictures import from_pil, labelled_grid, to_pil

SHEET_ROWS = 40
SHEET_SIDE = 256


def contact_sheet(folder: Path, rows: list[dict]) -> Image.Image | None:
    """A column a setting, a row a prompt and seed, as many as SHEET_ROWS."""
    made = [row for row in rows if not row["error"]]
    columns = len({row["settings_name"] for row in rows})
    if not made:
        return None
    pictures, labels = [], []
    for row in made[: SHEET_ROWS * columns]:
        with Image.open(folder / row["file"]) as picture:
            picture.thumbnail((SHEET_SIDE, SHEET_SIDE))
            pictures.append(from_pil(picture))
        labels.append(f"{row['settings_name']} {row['seed']} {row['prompt']}")
    return to_pil(labelled_grid(pictures, labels, columns)[0])
