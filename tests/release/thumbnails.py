"""Thumbnails of workflows: few large cells, what a technique changes side by side, labels that can be read at their
size; and cards in place of pictures that nobody can make without a download."""

from __future__ import annotations

import colorsys
import random
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from mgt_core.views.pictures import LABEL_HEIGHT
from support.workflow_files import THUMBNAIL_SIDE as SIDE

GAP = 4  # pixels between pictures, as in MGT Compare Grid
EDGE = 2  # pixels around all
DARK, LIGHT, FAINT = (30, 32, 38), (240, 240, 240), (165, 170, 180)
FONTS = (13, 12, 11, 10)  # sizes of labels, the first that fits
HEADER = 18  # pixels of a label
INSET = 0.36  # of the side, what a picture was before it was edited
SEEDS = 2  # of a batch that are shown, one below the other
FRAMES = (0.4, 0.7, 0.85, 1.0)  # of a run that is played
# Of several runs, those whose difference tells; else the first and the last.
TOLD = {"zsampling": (0, 1), "masked_zsampling": (0, 1)}


@dataclass(frozen=True)
class Sheet:
    """What MGT Compare Grid drew: a picture for every label, or a batch of them for every label."""

    image: Image.Image
    columns: int
    labels: list[str]

    def cells(self) -> list[Image.Image]:
        """Its pictures without their labels, row by row."""
        width = (self.image.width + GAP) // self.columns - GAP
        rows = round((self.image.height + GAP) / (width + LABEL_HEIGHT + GAP))  # of square pictures
        if rows * self.columns % len(self.labels):  # of others: one for each label
            rows = len(self.labels) // self.columns
        height = (self.image.height + GAP) // rows - GAP
        corners = [(c * (width + GAP), r * (height + GAP)) for r in range(rows) for c in range(self.columns)]
        return [self.image.crop((x, y + LABEL_HEIGHT, x + width, y + height)) for x, y in corners]

    def runs(self) -> list[list[Image.Image]]:
        """The pictures of each label."""
        cells = self.cells()
        each = max(1, len(cells) // len(self.labels))
        return [cells[i * each : (i + 1) * each] for i in range(len(self.labels))]


def of_sheet(sheet: Sheet, name: str) -> Image.Image:
    """Two runs in two columns, seeds below each other; more of them, or single pictures, each under its label."""
    runs = sheet.runs()
    if len(runs[0]) == 1 or len(runs) > 3:
        columns = sheet.columns if len(runs) > 4 else 2
        if len(runs) == 1 or runs[0][0].width > 1.5 * runs[0][0].height:
            columns = 1
        return page(list(zip(sheet.labels, [run[0] for run in runs], strict=True)), columns)
    shown = TOLD.get(name, (0, -1))
    seeds = [[runs[i][seed] for i in shown] for seed in range(min(SEEDS, len(runs[0])))]
    cells = [(sheet.labels[i] if not row else "", image) for row, images in enumerate(seeds) for i, image in
             zip(shown, images, strict=True)]  # fmt: skip
    return page(cells, len(shown))


def page(cells: Sequence[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """A square of pictures, each under its label where it has one; a last row that is not full stands in the middle."""
    square, draw = blank()
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    headers = [HEADER if any(label for label, _ in row) else 0 for row in rows]
    width = (SIDE - 2 * EDGE + GAP) // columns - GAP
    height = min(width, (SIDE - 2 * EDGE - sum(headers) - GAP * (len(rows) - 1)) // len(rows))
    top = (SIDE - sum(headers) - height * len(rows) - GAP * (len(rows) - 1)) // 2
    for row, header in zip(rows, headers, strict=True):
        left = (SIDE - len(row) * (width + GAP) + GAP) // 2
        for place, (label, image) in enumerate(row):
            x = left + place * (width + GAP)
            write(draw, label, x + width // 2, top + header // 2, width)
            image = resized(image, width, height)
            square.paste(image, (x + (width - image.width) // 2, top + header + (height - image.height) // 2))
        top += header + height + GAP
    return square


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    square = Image.new("RGB", (SIDE, SIDE), DARK)
    return square, ImageDraw.Draw(square)


def write(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, width: int) -> None:
    """Around a point, as large as fits; what does not fit is cut."""
    for size in FONTS:
        font = ImageFont.load_default(size)
        if draw.textlength(text, font) <= width:
            break
    while text and draw.textlength(text, font) > width:
        text = text.removesuffix("…")[:-1].rstrip(" ,") + "…"
    draw.text((x, y), text, LIGHT, font, anchor="mm")


def edited(before: Image.Image, after: Image.Image) -> Image.Image:
    """What was made of a picture, and the picture in a corner."""
    square = resized(after, SIDE, SIDE)
    inset = resized(before, round(SIDE * INSET), round(SIDE * INSET))
    draw = ImageDraw.Draw(square)
    top = SIDE - inset.height - HEADER - 2 * EDGE
    draw.rectangle((0, top, inset.width + 2 * EDGE - 1, SIDE), DARK)
    write(draw, "before", inset.width // 2 + EDGE, top + HEADER // 2, inset.width)
    square.paste(inset, (EDGE, top + HEADER))
    return square


def played(frames: Sequence[Image.Image]) -> Image.Image:
    """Some moments of a run; the first frame is what was before it."""
    moved = [i for i in range(1, len(frames)) if frames[i].tobytes() != frames[i - 1].tobytes()]
    frames = frames[: moved[-1] + 1]  # the last one is held for a while
    at = [round(share * (len(frames) - 1)) for share in FRAMES]
    return page([(f"step {i} of {len(frames) - 1}", frames[i]) for i in at], 2)


def several(images: Sequence[Image.Image]) -> Image.Image:
    if len(images) == 1 and images[0].width == images[0].height:
        return resized(images[0], SIDE, SIDE)
    return page([("", image) for image in images], 2 if len(images) > 1 else 1)


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """As large as fits into width x height."""
    scale = min(width / image.width, height / image.height)
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def card(title: str, makes: Sequence[str], needs: str, cells: int = 16) -> Image.Image:
    """A picture of tokens that appear, in colours of the title's own, and what the workflow makes and needs."""
    square, draw = blank()
    draws, side = random.Random(title), SIDE // cells
    hue = draws.random()
    for row in range(cells):
        for column in range(cells):
            far = ((row - 3) ** 2 + (column - cells * 0.62) ** 2) ** 0.5 / cells
            if draws.random() < 1.25 - 2.2 * far:
                colour = colorsys.hsv_to_rgb((hue + 0.22 * far + 0.05 * draws.random()) % 1, 0.65, 0.95 - 0.8 * far)
                box = column * side, row * side, (column + 1) * side - 2, (row + 1) * side - 2
                draw.rectangle(box, tuple(round(255 * part) for part in colour))
    lines = textwrap.wrap(title, 15)
    top = SIDE - 20 - 19 * len(makes) - 30 * len(lines)
    draw.rectangle((0, top - 12, SIDE, SIDE), DARK)
    for line in lines:
        draw.text((14, top), line, LIGHT, ImageFont.load_default(28), anchor="la")
        top += 30
    for line in makes:
        draw.text((14, top + 4), line, FAINT, ImageFont.load_default(14), anchor="la")
        top += 19
    box = draw.textbbox((0, 0), needs, ImageFont.load_default(13), anchor="la")
    draw.rounded_rectangle((8, 8, 8 + box[2] + 16, 30), 11, DARK)
    draw.text((16, 19), needs, LIGHT, ImageFont.load_default(13), anchor="lm")
    return square
