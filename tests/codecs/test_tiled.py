"""Codecs in tiles: the same picture and the same tokens, whatever the tile, and a way out of memory."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.codecs import base
from mgt_core.codecs.base import Codec
from mgt_core.codecs.maps import Moments
from mgt_core.codecs.tiled import Map, Tiles, is_plain, spans
from support.device import DEVICE
from support.golden import assert_near, assert_same_codes, bundles, label, pipeline, recorded_bundles, tensors
from support.node_runs import run

BUNDLES = [pytest.param(folder, id=label(folder)) for folder in bundles()]
RECORDED = [pytest.param(folder, id=label(folder)) for folder in recorded_bundles()]
CODEC = pipeline(bundles()[0]).codec
ROUNDING = 2e-5
few = settings(max_examples=10, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])


def ids(codec, *shape, seed=0):
    return torch.randint(codec.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("folder", BUNDLES)
@pytest.mark.parametrize("tile_size", [16, 24, 100, 4096])
def test_tiled_is_the_whole_but_for_rounding(folder, tile_size):
    """Everywhere, seams and borders included, for sides that tiles do not divide."""
    codec = pipeline(folder).codec
    tokens = ids(codec, 2, 7, 9)
    torch.testing.assert_close(
        codec.decode(tokens, tile_size), codec.decode(tokens), atol=ROUNDING, rtol=0, check_device=False
    )
    image = torch.rand(1, 5 * codec.scale, 8 * codec.scale, 3, generator=torch.Generator().manual_seed(1))
    whole = codec.latents(image)
    torch.testing.assert_close(codec.latents(image, tile_size), whole, check_device=False, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("folder", RECORDED)
def test_golden_codec_in_tiles(folder):
    """The published implementation's values too."""
    codec, recorded = pipeline(folder).codec, tensors(folder / "vq")
    expected = recorded["decoded_raw"].clamp(0, 1).permute(0, 2, 3, 1)
    tile = 2 * max(codec.scale, base.SMALLEST_TILE // 2)
    assert_near(codec.decode(recorded["dec_indices"], tile), expected, scale=recorded["decoded_raw"])
    assert_same_codes(codec, recorded["image"].permute(0, 2, 3, 1), recorded["indices"], tile)


@few
@given(st.integers(1, 40), st.integers(1, 17))
def test_strips_cover_every_row_once(height, step):
    seen = torch.zeros(height)
    for top, bottom in spans(height, step):
        assert 0 < bottom - top <= step
        seen[top:bottom] += 1
    assert (seen == 1).all()


@few
@given(
    st.integers(3, 20),
    st.integers(3, 20),
    st.integers(1, 90),
    st.sampled_from([(1, 0, 1), (3, 1, 1), (3, 0, 2)]),
    st.booleans(),
)
@torch.inference_mode()
def test_a_convolution_in_strips_is_the_convolution(height, width, cells, kernel, added):
    """With the moments of its result; the one that halves has its zeros below and on the right, as in encoders."""
    torch.manual_seed(height)
    size, padding, step = kernel
    height, width = height // step * step, width // step * step
    layer, x = torch.nn.Conv2d(2, 3, size, step, padding).to(DEVICE), torch.randn(2, 2, height, width).to(DEVICE)
    whole = layer(torch.nn.functional.pad(x, (0, 1, 0, 1)) if step == 2 else x)
    plus = torch.randn_like(whole)
    expected = whole + plus if added else whole
    ours = Tiles(DEVICE, cells).convolve(Map(x), layer, plus=Map(plus.clone()) if added else None)
    torch.testing.assert_close(ours.values, expected, atol=1e-5, rtol=1e-5)
    joined = ours.moments[0]
    for strip in ours.moments[1:]:
        joined = joined.joined(strip)
    torch.testing.assert_close(joined.mean, expected.mean((2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joined.variance, expected.var((2, 3), correction=0), atol=1e-5, rtol=1e-5)


@few
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 90))
@torch.inference_mode()
def test_doubling_in_strips_is_doubling(height, width, cells):
    torch.manual_seed(height)
    layer, x = torch.nn.Conv2d(2, 3, 3, padding=1).to(DEVICE), torch.randn(2, 2, height, width).to(DEVICE)
    ours = Tiles(DEVICE, cells).double(Map(x), layer).values
    torch.testing.assert_close(ours, layer(torch.nn.functional.interpolate(x, scale_factor=2.0)), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_statistics_are_those_of_the_whole():
    norm = torch.nn.GroupNorm(2, 4).to(DEVICE)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(3, 4, 13, 10) * 5 + 40
    x = x.to(DEVICE)
    parts = tuple(Moments.of(part) for part in x.split(4, dim=2))
    kept = x.clone()
    for whole in (Map(x, parts), x):
        change = Tiles(DEVICE, 40).activation(whole, norm)
        torch.testing.assert_close(change(x, False), torch.nn.functional.silu(norm(x)), atol=1e-4, rtol=1e-4)
        assert torch.equal(x, kept)


def test_memory_that_cannot_be_pinned_is_taken_unpinned(monkeypatch):
    def refused(*shape, pin_memory=False, plain=torch.empty, **rest):
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return plain(*shape, **rest)

    monkeypatch.setattr(torch, "empty", refused)
    taken = Tiles(torch.device("cuda"), 16).empty((1, 2, 3, 4), torch.float32, stays=False)
    assert taken.shape == (1, 2, 3, 4) and taken.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def no_room(monkeypatch):
    def full(self, values, pixels, direction):
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Codec, "_whole", full)


def test_out_of_memory_falls_back_to_tiles(monkeypatch, request, caplog):
    tokens = ids(CODEC, 2, 6, 6)
    whole = CODEC.decode(tokens)
    latents = CODEC.latents(whole)
    request.getfixturevalue("no_room")
    torch.testing.assert_close(CODEC.decode(tokens), whole, check_device=False, atol=ROUNDING, rtol=0)
    assert "out of memory: once more in tiles of 512 pixels" in caplog.text
    torch.testing.assert_close(CODEC.latents(whole), latents, check_device=False, atol=1e-3, rtol=1e-4)


def test_out_of_memory_is_said_where_there_are_no_tiles(no_room, monkeypatch):
    monkeypatch.setattr(type(CODEC), "takes_tiles", False)
    for work in (lambda: CODEC.decode(ids(CODEC, 1, 2, 2)), lambda: CODEC.encode(torch.rand(1, 32, 32, 3))):
        with pytest.raises(torch.cuda.OutOfMemoryError):
            work()


def test_both_ways_ask_for_memory_and_take_a_few_pictures_at_a_time(monkeypatch):
    asked, seen = [], []
    network = CODEC.network

    class Asked:
        def acquire(self, memory=0):
            asked.append(memory)
            return DEVICE

    codec = CODEC.with_placement(Asked())
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 2 * 32 * 32)
    image = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([CODEC.latents(one) for one in image.split(1)])
    with monkeypatch.context() as patch:
        for part in (network.encoder.conv_in, network.decoder.conv_in):
            original = part.forward
            patch.setattr(part, "forward", lambda x, *rest, own=original: seen.append(len(x)) or own(x, *rest))
        latents, tokens = codec.latents(image), codec.encode(image)
        codec.decode(tokens)
    torch.testing.assert_close(latents, alone, atol=1e-4, rtol=1e-4)
    assert seen == [2, 2, 1] * 3
    assert [memory for memory in asked if memory] == [
        2 * codec.latents_bytes(32 * 32),
        2 * codec.latents_bytes(32 * 32),
        2 * codec.decode_bytes(32 * 32),
    ]


def test_nodes_pass_the_tile_size(monkeypatch):
    seen = []
    decode, latents = type(CODEC)._decode_tiled, type(CODEC)._latents_tiled
    monkeypatch.setattr(type(CODEC), "_decode_tiled", lambda s, c, cells: seen.append(cells) or decode(s, c, cells))
    monkeypatch.setattr(type(CODEC), "_latents_tiled", lambda s, i, cells: seen.append(cells) or latents(s, i, cells))
    model = pipeline(bundles()[0]).model
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    tokens = run("MGTEncodeImage", model=model, codec=CODEC, image=image, tile_size=64)[0]
    run("MGTDecode", tokens=tokens, codec=CODEC, tile_size=128)
    assert seen == [64**2, 128**2]


@pytest.mark.parametrize("tile_size", [-1, 3, 2.5, True])
def test_bad_tile_sizes_get_one_sentence(tile_size):
    with pytest.raises(mgt_core.MGTError, match="tile_size is"):
        CODEC.decode(ids(CODEC, 1, 2, 2), tile_size)


def test_other_layers_are_refused(monkeypatch):
    """Rather than decoded wrongly."""
    assert is_plain(CODEC.network.decoder) and is_plain(CODEC.network.encoder)
    monkeypatch.setattr(CODEC.network.decoder.up_blocks[0], "attentions", [1], raising=False)
    with pytest.raises(mgt_core.MGTError, match="whole pictures only"):
        CODEC.decode(ids(CODEC, 1, 2, 2), 16)
