"""Thumbnails of the workflows, the tool that draws them, and the screenshots on the page about them."""

import re
from urllib.parse import unquote

import numpy
import pytest
from PIL import Image

from release import make_pictures
from release.make_pictures import THUMBNAIL_BYTES, WIDTH
from support.pack import ROOT
from support.workflow_files import THUMBNAIL_SIDE, WORKFLOWS, name

PAGE = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
SCREENSHOTS = [ROOT / "docs" / link for link in re.findall(r"\((images/\w+\.webp)\)", PAGE)]
DRAW = "MGT_UPDATE_SCREENSHOTS=1 ./mgt test tests/browser draws them, with COMFYUI_PATH set"
THUMBNAILS = [path.with_suffix(".jpg") for path in WORKFLOWS]
CARDS = [path for path in WORKFLOWS if make_pictures.model_of(path) != make_pictures.BUILT_IN]


@pytest.mark.parametrize("path", THUMBNAILS, ids=name)
def test_every_workflow_has_a_thumbnail(path):
    assert path.is_file(), f"workflows/{path.name} is missing: run ./mgt pictures {name(path)}"
    assert path.stat().st_size <= THUMBNAIL_BYTES
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        assert numpy.ptp(numpy.asarray(picture)) > 0


def test_thumbnails_are_few_bytes_and_have_workflows():
    assert sum(path.stat().st_size for path in THUMBNAILS) < 600_000
    assert set(THUMBNAILS[0].parent.glob("*.jpg")) == set(THUMBNAILS), "run ./mgt pictures; remove those of no workflow"


@pytest.mark.parametrize("path", CARDS, ids=name)
def test_without_its_model_a_workflow_has_a_card(path):
    with Image.open(path.with_suffix(".jpg")) as picture:
        apart = numpy.asarray(picture, float) - numpy.asarray(make_pictures.card_of(path), float)
    # Fonts are drawn a little differently by other versions.
    assert abs(apart).mean() < 5, f"run ./mgt pictures {name(path)}"


def sheet(columns, rows):
    """Cells of 20 x 20 pixels, each of its own grey."""
    shades = numpy.arange(columns * rows, dtype=numpy.uint8).reshape(rows, columns) + 1
    page = numpy.zeros((rows, 24, columns, 24), numpy.uint8)
    page[:, :20, :, :20] = shades[:, None, :, None]
    return Image.fromarray(page.reshape(rows * 24, columns * 24)[:-4, :-4]).convert("RGB")


@pytest.mark.parametrize("columns, rows, kept", [(4, 2, 2), (4, 3, 3), (3, 3, 3), (2, 4, 2), (1, 1, 1)])
def test_a_thumbnail_shows_whole_columns(columns, rows, kept):
    (shown,) = make_pictures.cut(sheet(columns, rows), columns)
    assert shown.size == (kept * 24 - 4, rows * 24 - 4)
    assert (numpy.asarray(shown)[0, -1] == kept).all()


def test_a_thumbnail_shows_every_picture_of_a_single_row():
    shown = make_pictures.cut(sheet(3, 1), 3)
    assert [image.getcolors() for image in shown] == [[(400, (shade,) * 3)] for shade in (1, 2, 3)]
    square = make_pictures.thumbnail(make_pictures.Made([], [sheet(3, 1)], [], 3))
    assert square.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    assert {colour for _, colour in square.getcolors()} == {(shade,) * 3 for shade in (1, 2, 3, 255)}


def test_a_picture_is_as_good_as_its_bytes_allow(tmp_path):
    noise = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (WIDTH, WIDTH, 3), numpy.uint8))
    with pytest.raises(SystemExit, match="noise.webp does not fit into 9000 bytes"):
        make_pictures.save(noise, tmp_path / "noise.webp", 9000)
    make_pictures.save(Image.new("RGB", (9, 9), "red"), tmp_path / "red.jpg", 9000)
    with Image.open(tmp_path / "red.jpg") as picture:
        assert abs(numpy.asarray(picture, int)[0, 0] - (255, 0, 0)).max() < 9


def test_the_page_shows_every_workflow_it_links():
    shown = {path.stem.removeprefix("comfyui_") for path in SCREENSHOTS}
    linked = {name(ROOT / unquote(link)) for link in re.findall(r"\(\.\./(workflows/[^)]+\.json)\)", PAGE)}
    assert shown == linked | {"mask_editor", "painted_mask", "templates"}, f"show them in docs/workflows.md; {DRAW}"
    sizes = {path.name: path.stat().st_size for path in SCREENSHOTS}
    assert [name for name, size in sizes.items() if size > 120_000] == []
    assert sum(sizes.values()) < 2_000_000
