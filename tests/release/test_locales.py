"""Names and tooltips in every language: complete and up to date."""

import re

import pytest

from release import make_locales
from support.locales import leaves, read

MADE = make_locales.locales()
AGAIN = "run ./mgt locales, then translate what it leaves empty in locales/"


@pytest.mark.parametrize(("language", "file"), MADE)
class TestLocale:
    def test_is_up_to_date(self, language, file):
        assert read(language, file) == MADE[language, file], AGAIN

    def test_has_the_keys_of_the_english_one_and_no_empty_text(self, language, file):
        held = dict(leaves(read(language, file)))
        assert held.keys() == dict(leaves(MADE["en", file])).keys(), AGAIN
        assert [path for path, text in held.items() if not text.strip()] == [], AGAIN

    def test_is_translated(self, language, file):
        """Sentences hold characters of their language; a tooltip is never left in English."""
        if language == "en":
            return
        native = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]"}[language]
        held = leaves(read(language, file))
        foreign = [p for p, text in held if p[-1] in ("tooltip", "description") and not re.search(native, text)]
        assert foreign == [], f"still in English: translate them in locales/{language}/{file}"


def test_a_changed_tooltip_comes_out_empty(monkeypatch):
    """Only that one: what it was translated as no longer holds."""
    tree = make_locales.english()
    tree["nodeDefs.json"]["MGTDecode"]["description"] = "Something else."
    monkeypatch.setattr(make_locales, "english", lambda: tree)
    empty = [p for p, text in leaves(make_locales.locales()["ja", "nodeDefs.json"]) if not text]
    assert empty == [("MGTDecode", "description")]
