"""EnCodec against audiocraft's, from both forms of its files."""

import pytest
import torch

from support.device import equal
from support.golden import ROOT, assert_near, tensors
from support.sounds import converted_codec, loaded, published_codec, sound_codec

RECORDED = tensors(ROOT / "audio" / "magnet" / "codec")


@pytest.fixture(scope="module", params=["published", "converted"])
def codec(request, tmp_path_factory):
    if request.param == "published":
        return sound_codec(ROOT)
    return loaded(converted_codec(tmp_path_factory.mktemp("codec"), ROOT))


def test_codes_to_latents_to_sound(codec):
    assert_near(codec.vectors(RECORDED["codes"]), RECORDED["latent"])
    assert_near(codec.decode(RECORDED["codes"]), RECORDED["wav"])
    assert_near(codec.decode_vectors(RECORDED["latent"]), RECORDED["wav"])
    assert_near(codec.decode(RECORDED["short_codes"]), RECORDED["short_wav"])


def test_a_prompt_to_codes(codec):
    """Of a length that is no multiple of a frame."""
    assert RECORDED["prompt_wav"].shape[-1] % codec.scale
    assert equal(codec.encode(RECORDED["prompt_wav"]), RECORDED["prompt_codes"])


def test_sizes(codec):
    batch, books, frames = RECORDED["codes"].shape
    assert codec.books == books and codec.scale * frames == RECORDED["wav"].shape[-1]
    assert int(RECORDED["codes"].max()) < codec.codebook_size
    assert codec.vectors(RECORDED["codes"]).shape == RECORDED["latent"].shape


def test_another_padding_is_another_sound_at_the_ends(tmp_path):
    """That of the checkpoint's config counts, not transformers' own."""
    other = loaded(published_codec(tmp_path, lambda config: config["seanet"].update(pad_mode="reflect"), ROOT))
    apart = (other.decode(RECORDED["codes"]) - RECORDED["wav"]).abs().amax((0, 1))
    assert apart[0] > 0.05 and apart[-1] > 1e-4
    middle = len(apart) // 2
    assert apart[middle - 100 : middle + 100].max() < 1e-5
    assert torch.equal(sound_codec(ROOT).decode(RECORDED["codes"]), sound_codec(ROOT).decode(RECORDED["codes"]))
