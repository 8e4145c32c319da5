"""Thumbnails of the workflows, the tool that draws them, and the screenshots on the page about them."""

import re
from urllib.parse import unquote

import numpy
import pytest
from PIL import Image

from mgt_core.views.pictures import from_pil, labelled_grid, to_pil
from release import make_pictures, thumbnails
from release.make_pictures import THUMBNAIL_BYTES, WIDTH, Made
from release.thumbnails import Sheet
from runner.titles import remark
from support.pack import ROOT
from support.workflow_files import THUMBNAIL_SIDE, WORKFLOWS, name

PAGE = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
SCREENSHOTS = [ROOT / "docs" / link for link in re.findall(r"\((images/\w+\.webp)\)", PAGE)]
DRAW = "MGT_UPDATE_SCREENSHOTS=1 ./mgt test tests/browser draws them, with COMFYUI_PATH set"
THUMBNAILS = [path.with_suffix(".jpg") for path in WORKFLOWS]
CARDS = [path for path in WORKFLOWS if remark(path.stem)]


@pytest.mark.parametrize("path", THUMBNAILS, ids=name)
def test_every_workflow_has_a_thumbnail(path):
    assert path.is_file(), f"workflows/{path.name} is missing: run ./mgt pictures {name(path)}"
    assert path.stat().st_size <= THUMBNAIL_BYTES
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        assert numpy.ptp(numpy.asarray(picture)) > 0


def test_what_is_not_here_has_a_remark():
    """By which it gets a card, and stands last."""
    assert {path for path in WORKFLOWS if make_pictures.model_of(path) not in make_pictures.BUILT_IN} <= set(CARDS)


def test_thumbnails_are_few_bytes_and_have_workflows():
    assert sum(path.stat().st_size for path in THUMBNAILS) < 800_000
    assert set(THUMBNAILS[0].parent.glob("*.jpg")) == set(THUMBNAILS), "run ./mgt pictures; remove those of no workflow"


@pytest.mark.parametrize("path", CARDS, ids=name)
def test_without_its_model_a_workflow_has_a_card(path):
    with Image.open(path.with_suffix(".jpg")) as picture:
        apart = numpy.asarray(picture, float) - numpy.asarray(make_pictures.card_of(path), float)
    # Fonts are drawn a little differently by other versions.
    assert abs(apart).mean() < 5, f"run ./mgt pictures {name(path)}"


def plain(shade, width=192, height=192):
    return Image.new("RGB", (width, height), (shade,) * 3)


def sheet(columns, labels, each=1, size=(192, 192)):
    """As MGT Compare Grid draws it: run after run, picture i of the shade 10 (i + 1)."""
    cells = [from_pil(plain(10 * (i + 1), *size)) for i in range(len(labels) * each)]
    return Sheet(to_pil(labelled_grid(cells, [""] * len(cells), columns)[0]), columns, labels)


def shades(square, at=((0.25, 0.3), (0.75, 0.3), (0.25, 0.8), (0.75, 0.8))):
    """What a thumbnail shows at shares of its sides, in tens."""
    assert square.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return [square.getpixel((round(x * THUMBNAIL_SIDE), round(y * THUMBNAIL_SIDE)))[0] / 10 for x, y in at]


@pytest.mark.parametrize("columns, count, each", [(4, 2, 4), (4, 3, 4), (4, 4, 1), (3, 6, 1), (2, 4, 1), (1, 1, 1)])
def test_a_sheet_is_cut_into_its_pictures(columns, count, each):
    runs = sheet(columns, ["label"] * count, each).runs()
    assert [[image.getcolors() for image in run] for run in runs] == [
        [[(192 * 192, (10 * (each * i + k + 1),) * 3)] for k in range(each)] for i in range(count)
    ]


def test_two_runs_stand_side_by_side_with_two_of_their_seeds():
    assert shades(thumbnails.of_sheet(sheet(4, ["a", "b"], 4), "any")) == [1, 5, 2, 6]


def test_of_three_runs_those_are_shown_that_tell():
    three = sheet(4, ["a", "b", "c"], 4)
    assert shades(thumbnails.of_sheet(three, "any")) == [1, 9, 2, 10]
    assert shades(thumbnails.of_sheet(three, "zsampling")) == [1, 5, 2, 6]


def test_single_pictures_stand_each_under_its_label():
    assert shades(thumbnails.of_sheet(sheet(4, ["a", "b", "c", "d"]), "any")) == [1, 2, 3, 4]
    assert shades(thumbnails.of_sheet(sheet(3, ["a", "b", "c"]), "any"), [(0.25, 0.3), (0.75, 0.3), (0.5, 0.8)]) == [
        1,
        2,
        3,
    ]
    assert shades(thumbnails.of_sheet(sheet(1, ["a", "b"], size=(600, 200)), "any"), [(0.5, 0.35), (0.5, 0.75)]) == [
        1,
        2,
    ]


def test_a_sheet_of_sheets_is_one_with_all_of_their_pictures():
    """Of two sheets of two pictures, one below the other without labels, as a third MGT Compare Grid has them."""
    halves = [sheet(2, ["a", "b"]), sheet(2, ["c", "d"])]
    image = to_pil(labelled_grid([from_pil(half.image) for half in halves], [], 1)[0])
    found = make_pictures.sheet_of(image, [(["a", "b"], 2), (["c", "d"], 2), ([], 1)])
    assert found.columns == 2 and found.labels == ["a", "b", "c", "d"]
    assert [run[0].getpixel((96, 96)) for run in found.runs()] == [(10,) * 3, (20,) * 3] * 2
    plain_one = make_pictures.sheet_of(image, [(["a", "b"], 2)])
    assert plain_one.image is image and plain_one.labels == ["a", "b"]


def test_labels_fit_their_columns():
    long = thumbnails.of_sheet(sheet(2, ["a label that is much longer than its column is wide"] * 2), "any")
    written = numpy.asarray(long)[: THUMBNAIL_SIDE // 2].max((0, 2)) > 200
    assert written.any() and not written[126:130].any()


def test_what_was_edited_is_shown_with_what_it_was():
    square = thumbnails.edited(plain(10), plain(20))
    assert shades(square, [(0.5, 0.5), (0.15, 0.9), (0.9, 0.1)]) == [2, 1, 2]


def test_a_run_that_is_played_is_shown_until_it_stands_still():
    frames = [plain(10 * (i + 1)) for i in range(21)] + [plain(210)] * 5
    assert shades(thumbnails.played(frames)) == [9, 15, 18, 21]


def test_a_workflow_shows_its_sheet_its_frames_its_edit_or_what_it_saves():
    saved = [plain(30)]
    for made, first in [
        (Made([plain(10)], saved, [], sheet(2, ["a", "b"])), 1),
        (Made([], saved, [], None, [plain(10), plain(50), plain(60)]), 6),
        (Made([plain(10)], saved, []), 3),
        (Made([], saved, []), 3),
    ]:
        assert shades(make_pictures.thumbnail(made, "any"))[-1 if made.frames else 0] == first


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
