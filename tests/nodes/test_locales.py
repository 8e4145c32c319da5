"""Locale files that are there, in the form that the front end reads. Whether they are complete is asked before a
release, by tests/release."""

import re

import pytest

from support.locales import ENGLISH, FILES, languages, leaves, read

SIGN = re.compile(r"[{}@|]")


def test_three_languages():
    assert languages() == ["en", "ja", "zh"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("language", languages())
class TestLocale:
    def test_has_no_keys_but_those_of_the_english_one(self, language, file):
        held, known = (dict(leaves(read(of, file))).keys() for of in (language, ENGLISH))
        assert held and held <= known

    def test_signs_with_a_meaning_are_quoted(self, language, file):
        for path, text in leaves(read(language, file)):
            assert not SIGN.search(re.sub(r"\{'[{}@|]'\}", "", text)), path
