"""Pictures of what the workflows make: of each a thumbnail for ComfyUI's template browser (workflows/<name>.jpg), and
what help pages show of them (web/docs/images/<name>.webp).

    ./mgt pictures [NAME ...]

runs the workflows in full, all of them or those named. One whose model is not built in gets a card that names it."""

import io
import math
import re
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mgt_core.views.pictures import from_pil, labelled_grid, to_pil
from run_workflow import prepare
from runner.files import read_document
from runner.images import Folders
from runner.local import ROOT, Library, execute
from runner.titles import title as title_of
from support.workflow_files import THUMBNAIL_SIDE, WORKFLOWS, name

HELP = ROOT / "web" / "docs"
THUMBNAIL_BYTES = 20_000  # of the largest file
WIDTH, HELP_BYTES = 560, 30_000  # pixels, and the largest file, of a picture in a help page
BUILT_IN = "demo"
GAP = 4  # pixels between pictures, as in MGT Compare Grid
DARK, LIGHT, FAINT = (38, 40, 48), (235, 235, 235), (160, 165, 175)


def shown_in_help() -> set[str]:
    """Workflows whose pictures help pages link."""
    text = "".join(page.read_text(encoding="utf-8") for page in HELP.glob("*.md"))
    return set(re.findall(r"\(images/(\w+)\.webp\)", text))


def model_of(path: Path) -> str:
    """What the workflow's loader picks; one without a loader needs no file."""
    loaders = [node for node in read_document(path).ui["nodes"] if node["type"] == "MGTLoadModel"]
    return loaders[0]["widgets_values"][0] if loaders else BUILT_IN


@dataclass(frozen=True)
class Made:
    """What a run of a workflow loads, as it scales it; what it saves; what it only previews; the columns of its sheet,
    0 if it has none."""

    loaded: list[Image.Image]
    saved: list[Image.Image]
    previewed: list[Image.Image]
    columns: int


def run(path: Path, folder: Path) -> Made:
    folders = Folders((path.parent,), folder)
    library = Library.of_pack(folders)
    prompt, graph = prepare(read_document(path), [], library.object_info, custom=library.custom_check)

    def values(kind: str, key: str) -> list:
        return [node["inputs"][key] for node in prompt.values() if node["class_type"] == kind]

    sheets = zip(values("MGTCompareGrid", "columns"), values("MGTCompareGrid", "labels"), strict=True)
    columns = [columns or len(labels.splitlines()) for columns, labels in sheets]
    loaded = [opened(folders.find(name)) for name in values("LoadImage", "image")]
    for size in zip(values("ImageScale", "width"), values("ImageScale", "height"), strict=True):
        loaded = [image.resize(size, Image.Resampling.BOX) for image in loaded]
    kinds = [], []
    for file in execute(prompt, library, graph):
        kinds[file.parent.name == "temp"].append(opened(file))
    return Made(loaded, *kinds, *(columns or [0]))


def opened(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """As large as fits into width x height."""
    scale = min(width / image.width, height / image.height)
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def cut(sheet: Image.Image, columns: int) -> list[Image.Image]:
    """What a thumbnail shows of a sheet: as many whole columns as make a square, or each picture of a single row."""
    column = (sheet.width + GAP) / columns
    kept = min(columns, round(sheet.height / column))
    if kept > 1 or columns == 1:
        return [sheet.crop((0, 0, round(kept * column) - GAP, sheet.height))]
    return [sheet.crop((round(i * column), 0, round((i + 1) * column) - GAP, sheet.height)) for i in range(columns)]


def thumbnail(made: Made) -> Image.Image:
    """A square with all that was saved."""
    images = cut(made.saved[0], made.columns) if made.columns else made.saved
    columns = math.ceil(math.sqrt(len(images)))
    cell = THUMBNAIL_SIDE // columns
    rows = math.ceil(len(images) / columns)
    square = Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE), "white")
    for place, image in enumerate(resized(image, cell, cell) for image in images):
        left, top = place % columns * cell, (THUMBNAIL_SIDE - rows * cell) // 2 + place // columns * cell
        square.paste(image, (left + (cell - image.width) // 2, top + (cell - image.height) // 2))
    return square


def help_picture(made: Made) -> Image.Image:
    """All that was made, one below the other; what was edited beside it."""
    if made.columns:
        return stacked([*made.previewed, *made.saved])
    labels = ["before", "after"] if made.loaded else []
    return stacked([to_pil(labelled_grid([from_pil(image) for image in made.loaded + made.saved], labels)[0])])


def stacked(images: list[Image.Image]) -> Image.Image:
    """The images one below the other, none wider than WIDTH."""
    images = [resized(image, min(WIDTH, image.width), image.height) for image in images]
    page = Image.new("RGB", (max(i.width for i in images), sum(i.height + GAP for i in images) - GAP), "white")
    top = 0
    for image in images:
        page.paste(image, (0, top))
        top += image.height + GAP
    return page


def card_of(path: Path) -> Image.Image:
    """In place of a picture: what the workflow is called and which model it needs."""
    title, model = title_of(path.stem), model_of(path)
    page = Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE), DARK)
    draw = ImageDraw.Draw(page)
    draw.multiline_text((20, 60), textwrap.fill(title, 12), LIGHT, ImageFont.load_default(32), spacing=8)
    draw.text((20, 180), "needs a download:", FAINT, ImageFont.load_default(14))
    draw.multiline_text((20, 202), textwrap.fill(model, 24), LIGHT, ImageFont.load_default(16))
    return page


def save(picture: Image.Image, path: Path, most: int) -> None:
    """In the best quality that makes a file of at most so many bytes."""
    for quality in range(90, 0, -10):
        data = io.BytesIO()
        picture.save(data, {".jpg": "JPEG", ".webp": "WEBP"}[path.suffix], quality=quality)
        if data.tell() <= most:
            path.write_bytes(data.getvalue())
            return
    raise SystemExit(f"{path.name} does not fit into {most} bytes")


def draw(path: Path, in_help: bool) -> None:
    target = path.with_suffix(".jpg")
    if model_of(path) != BUILT_IN:
        return save(card_of(path), target, THUMBNAIL_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        made = run(path, Path(folder))
    save(thumbnail(made), target, THUMBNAIL_BYTES)
    if in_help:
        save(help_picture(made), HELP / "images" / f"{name(path)}.webp", HELP_BYTES)


def main(names: list[str]) -> None:
    for path in WORKFLOWS:
        if not names or name(path) in names:
            draw(path, name(path) in shown_in_help())


if __name__ == "__main__":
    main(sys.argv[1:])
