"""Every technique on an Apple GPU that is pretended: no float64 there, no operation that has no kernel, and the tokens
and pictures of the CPU. What has a kernel there for some types of numbers alone, only such a GPU tells."""

from dataclasses import replace
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.editing import ORDERS
from mgt_core.types import SOUND
from mgt_core.views import pictures
from mgt_core.views.preview import Previewer
from support.families import FAMILIES
from support.golden import bundles, pipeline
from support.on_device import CASES, on_device, possible, tokens_of
from support.pretended import PretendedMPS
from support.quantized import SCHEMES, quantized, tokens, with_model

pytestmark = pytest.mark.cpu_only("the device is pretended")
ROUNDING = 2e-5
TILE = 24
DRAWN, LEVEL = ("preview", "frames"), 1 / 255 + 1e-6  # pictures of 8 bits
# All that can be chosen with the family that takes most, and of the others what acts inside the network.
INSIDE = [case for case in CASES if case.startswith("patch ")] + ["sampler maskgit"]
FIRST, *OTHERS = FAMILIES
PAIRS = [(FIRST, case) for case in CASES] + [(family, case) for family in OTHERS for case in INSIDE]


def moved(part):
    return on_device(part, PretendedMPS)


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """By family, on the CPU and on the device."""
    root = tmp_path_factory.mktemp("apple")

    @cache
    def both(family: str):
        pipe = mgt_core.load(FAMILIES[family](root / family), dtype=torch.float32, device="cpu")
        return pipe, replace(pipe, model=moved(pipe.model), codec=moved(pipe.codec))

    return both


@pytest.mark.parametrize(("family", "case"), [pair for pair in PAIRS if possible(*pair)])
def test_a_run(pipes, family, case):
    cpu, device = pipes(family)
    with PretendedMPS():
        made = tokens_of(device, case).cpu()
    assert torch.equal(made, tokens_of(cpu, case))


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures(pipes, family):
    """Decoded and encoded, whole and in tiles."""
    own, device = (pipe.codec for pipe in pipes(family))
    if own.makes == SOUND:
        pytest.skip("of sounds")
    ids = torch.randint(own.codebook_size, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    picture = torch.rand(1, 8 * own.scale, 8 * own.scale, 3, generator=torch.Generator().manual_seed(0))
    for tile in (0, TILE) if own.takes_tiles else (0,):
        with PretendedMPS():
            made = device.decode(ids.to("mps"), tile).cpu()
            codes = device.encode(picture.to("mps"), tile).cpu()
        torch.testing.assert_close(made, own.decode(ids, tile), atol=ROUNDING, rtol=0)
        assert torch.equal(codes, own.encode(picture, tile))


def test_sounds(pipes):
    own, device = (pipe.codec for pipe in pipes("magnet"))
    ids = torch.randint(own.codebook_size, (1, own.books, 9), generator=torch.Generator().manual_seed(0))
    wave = torch.rand(1, 1, 9 * own.scale, generator=torch.Generator().manual_seed(0)) - 0.5
    with PretendedMPS():
        made, codes = device.decode(ids.to("mps")).cpu(), device.encode(wave.to("mps")).cpu()
    torch.testing.assert_close(made, own.decode(ids), atol=ROUNDING, rtol=0)
    assert torch.equal(codes, own.encode(wave))


def test_prompts():
    text = pipeline(bundles()[0]).text
    with PretendedMPS():
        given = moved(text).encode(["a (red:1.4) cat", "a dog"], (64, 64), True)
        hidden = given.hidden.cpu()
    torch.testing.assert_close(hidden, text.encode(["a (red:1.4) cat", "a dog"], (64, 64), True).hidden)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_packed_weights(scheme):
    """By plain torch. A rounding that falls the other way moves a code by one, and so may a token."""
    model = quantized(scheme).model
    with PretendedMPS():
        made = tokens(with_model(moved(model))).cpu()
    assert (made == tokens(with_model(model))).float().mean() > 0.75


def edits(pipe, image, mask):
    """What is made of a picture and of its tokens, by name; `image` and `mask` on the device of the model."""
    model, given = pipe.model, mgt_core.encode_image(pipe.model, pipe.codec, image)
    sides = (2 * pipe.codec.scale, 0, 0, 2 * pipe.codec.scale)
    seen = replace(
        given,
        confidence=-(given.tokens % 7).float(),
        revealed_at=given.tokens % 3,
    )
    yield "encoded", given.tokens
    yield "mask", mgt_core.mask_tokens(given, mask, grow=1).tokens
    yield "pad", (padded := mgt_core.pad_tokens(model, given, sides, redraw=1)).tokens
    yield from zip(("larger", "what is new"), mgt_core.pad_image(model, given, image, padded, sides), strict=True)
    for order in ORDERS:
        yield f"vary, {order}", mgt_core.vary_tokens(seen, 0.4, order, seed=3).tokens
    yield "paste", mgt_core.paste_back(image, image.flip(1), mask, feather=2)
    yield "order", pictures.reveal_order(seen, image, pipe.codec.scale)
    yield "confidence", pictures.confidence_map(seen, image, pipe.codec.scale)
    yield "grid", pictures.labelled_grid(list(image), ["a"])
    yield "preview", pictures.from_pil(Previewer(pipe.codec).image(seen))
    yield "frames", pictures.from_pil(list(pictures.animation_frames(seen, pipe.codec))[-1])


def test_editing(pipes):
    cpu, device = pipes(FIRST)
    side = 8 * cpu.codec.scale
    image = torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, side, side)
    mask[:, : side // 2] = 1
    with PretendedMPS():
        made = {name: value.cpu() for name, value in edits(device, image.to("mps"), mask.to("mps"))}
    for name, value in edits(cpu, image, mask):
        torch.testing.assert_close(made[name], value, atol=LEVEL if name in DRAWN else ROUNDING, rtol=0, msg=name)


def test_what_is_refused():
    with PretendedMPS():
        x = torch.ones(3, device="mps")
        assert x.device.type == "mps" and (x * 0.5).sum().item() == 1.5
        for double in (x.double, lambda: torch.rand(2, dtype=torch.float64).to("mps"), lambda: x.to(torch.float64)):
            with pytest.raises(TypeError, match="no float64 on mps"):
                double()
        with pytest.raises(NotImplementedError, match="_int_mm has no kernel|_int_mm.default has no kernel"):
            torch._int_mm(x[None].to(torch.int8), x[:, None].to(torch.int8))
        assert torch.rand(2, dtype=torch.float64).to("mps", torch.float32).dtype == torch.float32
