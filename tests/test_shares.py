"""Values of pictures and masks: what filters leave beside 0 to 1 is cut off, and other ranges are refused."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization.pictures import picture_tokens
from mgt_core.shares import LOST, OVERSHOOT, checked_shares
from support.golden import bundles, pipeline
from support.trials import is_sentence

NAN, INF = float("nan"), float("inf")
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SHADES = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0))
PIPE = pipeline(bundles()[0])


@few
@given(st.integers(0, 2**20), st.integers(8, 60), st.sampled_from([0.05, 0.5, 0.95]), st.booleans())
def test_what_a_cubic_filter_leaves_is_taken(seed, side, share, antialias):
    """Of black and white dots, which make it overshoot most."""
    dots = (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) < share).float()
    scaled = F.interpolate(dots, (side, side), mode="bicubic", antialias=antialias)
    assert torch.equal(checked_shares("image", scaled), scaled.clamp(0, 1))


@few
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_what_is_taken_is_nearly_the_same(first, second):
    values = torch.tensor([first, second])
    try:
        taken = checked_shares("image", values)
    except MGTError:
        assert values.min() < 0 or values.max() > 1
        return
    assert taken.min() >= 0 and taken.max() <= 1
    assert (taken - values).abs().mean() <= LOST and (taken - values).abs().max() <= OVERSHOOT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_what_is_within_is_the_same_tensor(dtype):
    values = SHADES.to(dtype)
    assert checked_shares("image", values) is values


@pytest.mark.parametrize("values", [torch.ones(4, 4).bool(), torch.ones(4, 4).byte(), torch.zeros(3, 3).long()])
def test_masks_of_whole_numbers(values):
    assert checked_shares("mask", values) is values


REFUSED = {
    "8 bits": (SHADES * 255, "image holds values from .* expected 0 to 1: as of 8 bits, for which divide by 255"),
    "16 bits": (SHADES * 65535, "as of 16 bits, for which divide by 65535"),
    "whole numbers": (torch.full((4, 4), 255, dtype=torch.uint8), "from 255 to 255; .* divide by 255"),
    "unsigned": (torch.full((4, 4), 65535, dtype=torch.uint16), "divide by 65535"),
    "-1 to 1": (SHADES * 2 - 1, "as of -1 to 1, for which add 1 and divide by 2"),
    "-1 to 1, dim": (SHADES * 0.8 - 0.4, "as of -1 to 1"),
    "-0.5 to 0.5": (SHADES - 0.5, "as of -1 to 1"),
    "light": (SHADES * 3, "from .* to .*: scale them to that, or clamp"),
    "light of a dim kind": (SHADES + 0.4, "scale them to that"),
    "standardized": ((SHADES - 0.45) / 0.22, "scale them to that"),
    "NaN": (SHADES.masked_fill(SHADES == SHADES.max(), NAN), "image is not finite"),
    "infinite": (SHADES.masked_fill(SHADES == SHADES.max(), -INF), "image is not finite"),
}


@pytest.mark.parametrize("values, words", REFUSED.values(), ids=REFUSED)
def test_other_ranges_are_refused(values, words):
    with pytest.raises(MGTError, match=words) as told:
        checked_shares("image", values)
    assert is_sentence(str(told.value))


def test_names_of_several():
    with pytest.raises(MGTError, match="images hold values from"):
        checked_shares("images", SHADES * 255)


# Wherever the library takes pictures and masks: (name, what is done with one).
TAKERS = {
    "encode": ("image", lambda x: PIPE.codec.encode(x)),
    "image to image": ("image", lambda x: mgt_core.encode_image(PIPE.model, PIPE.codec, x)),
    "calibrate": ("images", lambda x: picture_tokens(PIPE.model, PIPE.codec, x, (4, 4))),
    "inpaint": ("mask", lambda x: mgt_core.mask_tokens(mgt_core.empty_tokens(PIPE, 16, 16), x[0, ..., 0])),
    "original": ("original", lambda x: mgt_core.paste_back(x, SHADES, torch.ones(16, 16))),
    "repainted": ("repainted picture", lambda x: mgt_core.paste_back(SHADES, x, torch.ones(16, 16))),
    "mask": ("mask", lambda x: mgt_core.paste_back(SHADES, SHADES, x[..., 0])),
}


@pytest.mark.parametrize("name, take", TAKERS.values(), ids=TAKERS)
def test_whoever_takes_them_looks_at_them(name, take):
    for factor, words in ((255, "hold"), (NAN, "not finite")):
        with pytest.raises(MGTError, match=rf"^{name} .*{words}"):
            take(SHADES * factor)
    take(SHADES)


def test_what_is_cut_off_is_encoded_as_white():
    image = SHADES.clone()
    image[:, 0, 0] = 1.3
    cut, given = (mgt_core.encode_image(PIPE.model, PIPE.codec, x) for x in (image.clamp(0, 1), image))
    assert torch.equal(cut.tokens, given.tokens)


def test_what_is_pasted_back_stays_to_the_last_bit():
    original = SHADES.clone()
    original[:, 0, 0] = -0.02
    assert torch.equal(mgt_core.paste_back(original, SHADES, torch.zeros(16, 16)), original)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_does_so_beside_a_picture_of_other_bits(kind):
    repainted, mask = SHADES.flip(1).to(kind), torch.ones(16, 16)
    mask[:5] = 0
    out = mgt_core.paste_back(SHADES, repainted, mask, feather=1)
    assert torch.equal(out[:, :5], SHADES[:, :5].to(out.dtype))
    assert torch.equal(out[:, 8:], repainted[:, 8:].to(out.dtype))
