"""Texts in FLAC files."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from runner import flac

SOUND = (np.arange(5000) * 37 % 2000).astype(np.int16)
MOST = 10**6


def file(**options):
    target = io.BytesIO()
    soundfile.write(target, SOUND, 32000, format="FLAC", **options)
    return target.getvalue()


def held(data, *keywords, most=MOST):
    stream = io.BytesIO(data)
    stream.seek(len(flac.SIGNATURE))
    return flac.texts(stream, keywords, most)


PLAIN = file()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.dictionaries(st.sampled_from(["prompt", "workflow", "mgt settings"]), TEXT), TEXT)
def test_texts_come_back_and_the_sound_is_untouched(texts, before):
    data = flac.with_texts(flac.with_texts(PLAIN, {"workflow": before, "other": before}), texts)
    assert held(data, "prompt", "workflow", "mgt settings", "other") == texts
    sound, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == 32000 and np.array_equal(sound, SOUND)


def test_the_library_reads_them_too():
    with soundfile.SoundFile(io.BytesIO(flac.with_texts(PLAIN, {"title": "a é", "artist": "b"}))) as sound:
        assert (sound.title, sound.artist) == ("a é", "b")


def test_keywords_are_of_any_case():
    assert held(flac.with_texts(PLAIN, {"WorkFlow": "{}"}), "workflow") == {"workflow": "{}"}


def test_other_texts_may_be_of_any_encoding():
    """As old programs write the names of artists."""
    data = flac.with_texts(PLAIN, {"artist": "ab", "workflow": "{}"}).replace(b"artist=ab", b"artist=\xe9\xff")
    assert held(data, "prompt", "workflow") == {"workflow": "{}"}
    with pytest.raises(ValueError, match="utf-8"):
        held(data, "artist")


def test_what_is_too_long_is_refused():
    with pytest.raises(ValueError, match="longer than the 16777215 bytes"):
        flac.with_texts(PLAIN, {"workflow": "x" * 2**24})
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        held(flac.with_texts(PLAIN, {"workflow": "x" * 200}), "workflow", most=100)


@pytest.mark.parametrize("length", [0, 3, 20, 60, 90])
def test_what_is_cut_off_is_told(length):
    data = flac.with_texts(PLAIN, {"workflow": "x" * 200})
    with pytest.raises(ValueError, match="cut off"):
        held(data[: 4 + length], "workflow")


def test_blocks_without_end():
    with pytest.raises(ValueError, match="blocks without end"):
        held(PLAIN[:4] + b"\1\0\0\0" * 20_000, "workflow")
