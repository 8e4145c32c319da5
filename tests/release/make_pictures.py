"""Pictures of what the workflows make: of each a thumbnail for ComfyUI's template browser (workflows/<name>.jpg), and
what help pages show of them (web/docs/images/<name>.webp).

    ./mgt pictures [NAME ...]

runs the workflows in full, all of them or those named. What needs a file that is not here gets a card that says so."""

import io
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from mgt_core.loading.layouts import BUILT_IN
from mgt_core.views.pictures import LABEL_HEIGHT, from_pil, labelled_grid, to_pil
from release import thumbnails
from release.thumbnails import GAP, Sheet
from run_workflow import prepare
from runner.files import read_document
from runner.images import Folders
from runner.local import Library, execute
from runner.pack import ROOT
from runner.titles import remark, title
from support.workflow_files import WORKFLOWS, name

HELP = ROOT / "web" / "docs"
THUMBNAIL_BYTES = 14_000  # of the largest file
WIDTH, HELP_BYTES = 560, 30_000  # pixels, and the largest file, of a picture in a help page
PICTURES = (".png", ".webp", ".jpg")
# What a workflow with such a node makes, told on its card.
MAKES = {
    "MGTCaption": "a picture in words",
    "MGTCompareGrid": "a comparison",
    "MGTClassLabel": "a class of ImageNet",
    "MGTEditReference": "an edit by instruction",
    "MGTEditPrompt": "editing",
    "MGTMaskTokens": "inpainting",
    "MGTEmptySound": "text to sound",
}


def shown_in_help() -> set[str]:
    """Workflows whose pictures help pages link."""
    text = "".join(page.read_text(encoding="utf-8") for page in HELP.glob("*.md"))
    return set(re.findall(r"\(images/(\w+)\.webp\)", text))


def model_of(path: Path) -> str:
    """What the workflow's loader picks; one without a loader needs no file."""
    loaders = [node for node in read_document(path).ui["nodes"] if node["type"] == "MGTLoadModel"]
    return loaders[0]["widgets_values"][0] if loaders else next(iter(BUILT_IN))


@dataclass(frozen=True)
class Made:
    """What a run of a workflow loads, as it scales it; what it saves; what it only previews; its sheet, if what it
    saves is one; the frames of a run that it plays."""

    loaded: list[Image.Image]
    saved: list[Image.Image]
    previewed: list[Image.Image]
    sheet: Sheet | None = None
    frames: list[Image.Image] = field(default_factory=list)


def run(path: Path, folder: Path) -> Made:
    folders = Folders((path.parent,), folder)
    library = Library.of_pack(folders)
    prompt, graph = prepare(read_document(path), [], library.object_info, custom=library.custom_check)

    def values(kind: str, key: str) -> list:
        return [node["inputs"][key] for node in prompt.values() if node["class_type"] == kind]

    labels = [text.splitlines() for text in values("MGTCompareGrid", "labels")]
    columns = values("MGTCompareGrid", "columns")
    players = [key for key, node in prompt.items() if node["class_type"] == "MGTSamplingAnimation"]
    for key in players:
        prompt[f"frames {key}"] = {"class_type": "PreviewImage", "inputs": {"images": [key, 0]}}
    loaded = [opened(folders.find(name)) for name in values("LoadImage", "image")]
    for size in zip(values("ImageScale", "width"), values("ImageScale", "height"), strict=True):
        loaded = [ImageOps.fit(image, size, Image.Resampling.BOX) for image in loaded]  # of which the middle is taken
    kinds = [], []
    files = [file for file in execute(prompt, library, graph) if file.suffix in PICTURES]  # sounds are not shown
    for file in files:
        kinds[file.parent.name == "temp"].append(opened(file))
    if not kinds[0]:  # what is saved is sound
        kinds = kinds[::-1]
    grids = [(own, wide or len(own)) for own, wide in zip(labels, columns, strict=True)]
    sheet = sheet_of(kinds[0][0], grids) if grids else None
    if players:
        return Made(loaded, kinds[0], [], sheet, kinds[1])
    return Made(loaded, *kinds, sheet)


def sheet_of(image: Image.Image, grids: Sequence[tuple[list[str], int]]) -> Sheet:
    """What a graph's grids drew: one, or several of as many columns and one without labels that has them below each
    other. grids: labels and columns of each."""
    if all(labels for labels, _ in grids):
        return Sheet(image, grids[0][1], grids[0][0])
    rows = [grid for grid in grids if grid[0]]
    height = (image.height + GAP) // len(rows)
    cells = []
    for place, (labels, columns) in enumerate(rows):
        box = (0, place * height + LABEL_HEIGHT, image.width, (place + 1) * height - GAP)
        cells += [from_pil(cell) for cell in Sheet(image.crop(box), columns, labels).cells()]
    names, columns = [label for labels, _ in rows for label in labels], rows[0][1]
    return Sheet(to_pil(labelled_grid(cells, names, columns)[0]), columns, names)


def opened(file: Path) -> Image.Image:
    return Image.open(file).convert("RGB")


def thumbnail(made: Made, name: str) -> Image.Image:
    """A square that shows what the workflow is about."""
    if made.sheet:
        return thumbnails.of_sheet(made.sheet, name)
    if made.frames:
        return thumbnails.played(made.frames)
    if made.loaded:
        return thumbnails.edited(made.loaded[0], made.saved[0])
    return thumbnails.several(made.saved)


def help_picture(made: Made) -> Image.Image:
    """All that was made, one below the other; what was edited beside it."""
    if made.sheet:
        return stacked([*made.previewed, *made.saved])
    labels = ["before", "after"] if made.loaded else []
    return stacked([to_pil(labelled_grid([from_pil(image) for image in made.loaded + made.saved], labels)[0])])


def stacked(images: list[Image.Image]) -> Image.Image:
    """The images one below the other, none wider than WIDTH."""
    images = [thumbnails.resized(image, min(WIDTH, image.width), image.height) for image in images]
    page = Image.new("RGB", (max(i.width for i in images), sum(i.height + GAP for i in images) - GAP), "white")
    top = 0
    for image in images:
        page.paste(image, (0, top))
        top += image.height + GAP
    return page


def card_of(path: Path) -> Image.Image:
    """In place of a picture: what the workflow is called, what it makes, and what it needs."""
    nodes = {node["type"]: node.get("widgets_values") for node in read_document(path).ui["nodes"]}
    makes = next((made for kind, made in MAKES.items() if kind in nodes), "text to image")
    lines = [makes]
    if "MGTEmptyTokens" in nodes:
        width, height, _ = nodes["MGTEmptyTokens"]
        lines = [f"{makes}, {width} x {height}"]
    if model_of(path) not in BUILT_IN:
        lines.append(model_of(path))
    return thumbnails.card(title(path.stem), lines, remark(path.stem))


def save(picture: Image.Image, path: Path, most: int) -> None:
    """In the best quality that makes a file of at most so many bytes."""
    kind, best = {".jpg": ("JPEG", 75), ".webp": ("WEBP", 60)}[path.suffix]
    for quality in range(best, 0, -10):
        data = io.BytesIO()
        picture.save(data, kind, quality=quality, method=6, optimize=True, progressive=True)
        if data.tell() <= most:
            path.write_bytes(data.getvalue())
            return
    raise SystemExit(f"{path.name} does not fit into {most} bytes")


def draw(path: Path, in_help: bool) -> None:
    target = path.with_suffix(".jpg")
    if remark(path.stem):
        return save(card_of(path), target, THUMBNAIL_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        made = run(path, Path(folder))
    save(thumbnail(made, name(path)), target, THUMBNAIL_BYTES)
    if in_help:
        save(help_picture(made), HELP / "images" / f"{name(path)}.webp", HELP_BYTES)


def main(names: list[str]) -> None:
    for path in WORKFLOWS:
        if not names or name(path) in names:
            draw(path, name(path) in shown_in_help())


if __name__ == "__main__":
    main(sys.argv[1:])
