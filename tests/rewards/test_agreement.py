"""Colour and mask agreement: on pictures whose score is known, and against sums over pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core import MGTError
from mgt_core.rewards.colour import ColourAgreement, colour_of
from mgt_core.rewards.mask import MaskAgreement
from mgt_core.rewards.oklab import oklab

RED, BLUE, GREY = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5)
BOX = slice(8, 20), slice(10, 30)


def plain(colour, size=(32, 40)):
    return torch.tensor(colour).expand(1, *size, 3).clone()


def with_box(background, colour, box=BOX):
    held = plain(background)
    held[:, box[0], box[1]] = torch.tensor(colour)
    return held


def box_mask(box=BOX, size=(32, 40)):
    mask = torch.zeros(1, *size)
    mask[:, box[0], box[1]] = 1
    return mask


def one(reward, pictures, images=(0,)):
    (score,) = reward.score(pictures, images).tolist()
    return score


def test_colours_as_css_has_them():
    assert colour_of(" #F00 ") == colour_of("red") == colour_of("rgb(255, 0, 0)") == colour_of([1, 0, 0]) == RED
    for wrong in ("reddish", "", 5, [1, 0], [2, 0, 0], None, ["1", 0, 0]):
        with pytest.raises(MGTError, match="colour is .*; expected a colour as red"):
            colour_of(wrong)


def test_colour_agreement_of_known_pictures():
    assert one(ColourAgreement("red"), plain(RED)) == pytest.approx(1)
    assert one(ColourAgreement("black"), plain((1.0, 1.0, 1.0))) == pytest.approx(0, abs=1e-4)
    assert one(ColourAgreement("red"), plain(GREY)) > one(ColourAgreement("red"), plain(BLUE))


def test_where_it_looks():
    pictures = with_box(BLUE, RED)
    assert one(ColourAgreement("red", "object"), pictures) == pytest.approx(1, abs=1e-6)
    assert one(ColourAgreement("blue", "background"), pictures) == pytest.approx(1, abs=1e-6)
    assert one(ColourAgreement("red", mask=box_mask()), pictures) == pytest.approx(1, abs=1e-6)
    everywhere = one(ColourAgreement("red"), pictures)
    share, apart = 12 * 20 / (32 * 40), float((oklab(torch.tensor(RED)) - oklab(torch.tensor(BLUE))).norm())
    assert everywhere == pytest.approx(1 - (1 - share) * apart, abs=1e-5)


def test_nothing_there_has_no_colour():
    assert one(ColourAgreement("red", "object"), plain(RED)) == 0
    assert one(ColourAgreement("red", mask=torch.zeros(1, 4, 4)), plain(RED)) == 0
    assert one(ColourAgreement("red", "object", mask=1 - box_mask()), with_box(BLUE, RED)) == pytest.approx(0, abs=1e-6)


def test_lightness_may_count_less():
    dark = plain((0.4, 0.0, 0.0))
    scores = [one(ColourAgreement("red", lightness=share), dark) for share in (1.0, 0.5, 0.0)]
    assert scores == sorted(scores) and scores[0] < scores[2]
    a, b = oklab(torch.tensor([RED, (0.4, 0.0, 0.0)]))
    assert scores[2] == pytest.approx(1 - float((a - b)[1:].norm()), abs=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from(["everywhere", "background", "object"]))
def test_colour_agreement_is_the_mean_over_pixels(seed, where):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(2, 9, 7, 3, generator=generator)
    reward = ColourAgreement((0.2, 0.6, 0.1), where, 0.5, mask=torch.rand(2, 9, 7, generator=generator))
    weights, goal = reward.weights(pictures, [1, 0]), oklab(torch.tensor((0.2, 0.6, 0.1)))
    expected = []
    for picture, weight in zip(pictures, weights, strict=True):
        far = [
            float(weight[y, x]) * math.dist((l0 / 2, a0, b0), (l1 / 2, a1, b1))
            for y in range(9)
            for x in range(7)
            for (l0, a0, b0), (l1, a1, b1) in [(oklab(picture[y, x]).tolist(), goal.tolist())]
        ]
        expected.append(1 - sum(far) / float(weight.sum()) if float(weight.sum()) else 0.0)
    assert reward.score(pictures, [1, 0]).tolist() == pytest.approx(expected, abs=1e-4)


def test_mask_agreement_of_known_pictures():
    reward = MaskAgreement(box_mask())
    assert one(reward, with_box(BLUE, RED)) == 1
    assert one(reward, plain(BLUE)) == 0
    left = slice(8, 20), slice(0, 20)  # shares 10 of 20 columns
    assert one(reward, with_box(BLUE, RED, left)) == pytest.approx(10 / 30)
    shifted = slice(14, 26), slice(10, 30)
    assert one(reward, with_box(BLUE, RED, shifted)) == pytest.approx(6 / 18)
    assert one(MaskAgreement(torch.zeros(1, 8, 8)), plain(BLUE)) == 1  # nothing wanted, nothing there


def test_a_grey_mask_counts_by_its_shares():
    half = 0.75 * box_mask()
    assert one(MaskAgreement(half), with_box(BLUE, RED)) == pytest.approx(0.75)


def test_each_image_may_want_another_place():
    other = slice(2, 12), slice(4, 16)
    masks = torch.cat([box_mask(), box_mask(other)])
    pictures = torch.cat([with_box(BLUE, RED, other), with_box(BLUE, RED)])
    assert MaskAgreement(masks).score(pictures, [1, 0]).tolist() == [1, 1]
    assert ColourAgreement("red", mask=masks).score(pictures, [1, 0]).tolist() == pytest.approx([1, 1])
    for reward in (MaskAgreement(masks), ColourAgreement("red", mask=masks)):
        with pytest.raises(MGTError, match="masks are 2, and the batch has an image 3; expected 1, or one for each"):
            reward.score(pictures, [1, 2])


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: MaskAgreement(), "mask is missing"),
        (lambda: MaskAgreement(torch.zeros(4)), r"mask is of shape \[4\]; expected"),
        (lambda: MaskAgreement("left"), "mask is 'left'; expected"),
        (lambda: MaskAgreement(torch.full((1, 4, 4), 255.0)), "mask holds values from 255 to 255; expected 0 to 1"),
        (lambda: MaskAgreement(torch.ones(4, 4), contrast=2), "contrast is 2; accepted are numbers from 0 to 1"),
        (lambda: ColourAgreement("rgb(300, 0, 0)"), r"colour is 'rgb\(300, 0, 0\)'; expected"),
        (lambda: ColourAgreement("red", "above"), "where is 'above'; accepted are everywhere, background, object"),
        (lambda: ColourAgreement("red", lightness=-1), "lightness is -1"),
    ],
)
def test_bad_settings_are_one_sentence(make, told):
    with pytest.raises(MGTError, match=told) as error:
        make()
    assert "\n" not in str(error.value)
