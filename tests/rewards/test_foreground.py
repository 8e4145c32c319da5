"""What stands out of a picture, against loops over its cells and on pictures of every kind of background."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core.rewards.foreground import CELLS, cells_of, foreground, mask_on, otsu, standing_out
from mgt_core.rewards.oklab import oklab


def picture(background, objects=(), size=(40, 48)):
    """[1, H, W, 3]: rectangles (top, left, bottom, right, colour) on a background of one colour, or of rows of some."""
    rows = torch.tensor(background).reshape(-1, 3)
    held = rows[torch.arange(size[0]) * len(rows) // size[0]][:, None].repeat(1, size[1], 1)
    for top, left, bottom, right, colour in objects:
        held[top:bottom, left:right] = torch.tensor(colour)
    return held[None]


BROWN, RED, SKY, GRASS = (0.5, 0.35, 0.2), (0.9, 0.1, 0.1), (0.5, 0.7, 1.0), (0.2, 0.5, 0.2)
BOX = (10, 12, 25, 30)


def wanted(box=BOX, size=(40, 48)):
    mask = torch.zeros(1, *size)
    mask[:, box[0] : box[2], box[1] : box[3]] = 1
    return mask


@pytest.mark.parametrize("background", [BROWN, (SKY, GRASS), (SKY, BROWN, GRASS)])
def test_an_object_is_found_on_a_background_of_several_colours(background):
    found = foreground(picture(background, [(*BOX, RED)]))
    assert torch.equal(found, wanted() > 0)


def test_noise_is_no_object():
    noisy = picture(BROWN, [(*BOX, RED)]) + 0.01 * torch.randn(1, 40, 48, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(foreground(noisy.clamp(0, 1)), wanted() > 0)
    assert not foreground(picture(BROWN)).any()
    plain = picture(BROWN) + 0.01 * torch.randn(1, 40, 48, 3, generator=torch.Generator().manual_seed(1))
    assert not foreground(plain.clamp(0, 1)).any()


def test_an_object_may_reach_the_edge():
    """By less than a tenth of the border; and by half of it where it is wanted there."""
    at_edge = (0, 12, 25, 20)
    assert torch.equal(foreground(picture(BROWN, [(*at_edge, RED)])), wanted(at_edge) > 0)
    half = (0, 0, 40, 24)
    assert torch.equal(foreground(picture(BROWN, [(*half, RED)]), wanted(half)), wanted(half) > 0)


def test_a_mask_over_the_whole_border_tells_of_no_other_background():
    full = torch.ones(1, 40, 48)
    assert torch.equal(foreground(picture(BROWN, [(*BOX, RED)]), full), wanted() > 0)


def test_it_is_the_distance_to_the_nearest_tenth_of_the_border():
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(2, 5, 6, 3, generator=generator)
    mask = (torch.rand(2, 5, 6, generator=generator) > 0.6).float()
    rim = [(y, x) for y, x in itertools.product(range(5), range(6)) if y in (0, 4) or x in (0, 5)]  # in their order
    found = standing_out(pictures, mask)
    for image in range(2):
        lab = oklab(pictures[image])
        border = [lab[place] for place in rim if mask[image][place] < 0.5]
        for y, x in itertools.product(range(5), range(6)):
            distances = sorted(float((lab[y, x] - each).norm()) for each in border)
            tenth = distances[max(0, -(-len(border) // 10) - 1)]
            assert float(found[image, y, x]) == pytest.approx(tenth, abs=1e-6)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=12))
def test_otsu_parts_where_no_other_place_parts_better(numbers):
    values = torch.tensor([numbers], dtype=torch.float32)

    def between(least):
        low, high = [v for v in numbers if v <= least], [v for v in numbers if v > least]
        if not high:
            return 0.0
        apart = sum(low) / len(low) - sum(high) / len(high)
        return len(low) * len(high) * apart**2

    assert between(float(otsu(values))) == pytest.approx(max(map(between, numbers)), rel=1e-4, abs=1e-3)


def test_large_pictures_are_looked_at_in_cells():
    large = picture(BROWN, [(100, 120, 250, 300, RED)], (400, 480))
    cells = cells_of(large)
    assert max(cells.shape[1:3]) <= CELLS and cells.shape[1:3] == (50, 60)
    torch.testing.assert_close(cells[0, 2, 3], large[0, 16:24, 24:32].mean((0, 1)))
    found = foreground(large)
    assert found.shape == (1, 50, 60) and bool(found[0, 13:31, 15:37].all()) and int(found.sum()) <= 19 * 23


def test_a_mask_of_another_size_is_stretched():
    small = torch.tensor([[[0.0, 1.0]]])
    assert mask_on(small, (4, 8)).shape == (1, 4, 8)
    assert mask_on(small, (4, 8))[0, :, 0].eq(0).all() and mask_on(small, (4, 8))[0, :, -1].eq(1).all()
    assert mask_on(torch.rand(2, 64, 64), (8, 8)).mean() == pytest.approx(0.5, abs=0.05)
