"""EnCodec against audiocraft's, from both forms of its files."""

import pytest

from support.device import equal
from support.golden import GAP, ROOT, assert_near, tensors
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

    def changed(config: dict) -> None:
        own = config["seanet"]["pad_mode"]
        config["seanet"]["pad_mode"] = "constant" if own == "reflect" else "reflect"

    other = loaded(published_codec(tmp_path, changed, ROOT))
    apart = (other.decode(RECORDED["codes"]) - RECORDED["wav"]).abs().amax((0, 1))
    first, *_, last = apart.split(other.scale)
    middle = apart[len(apart) // 2 :][: other.scale]
    assert min(first.max(), last.max()) > 100 * GAP * RECORDED["wav"].abs().max() > 100 * middle.max()
