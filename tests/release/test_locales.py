"""Names and tooltips in every language: complete and up to date."""

import re

import pytest

from release import make_locales
from support.locales import NATIVE, leaves, read

MADE = make_locales.locales()
AGAIN = "run ./mgt locales for locales/"


@pytest.mark.parametrize(("language", "file"), MADE)
class TestLocale:
    def test_is_up_to_date(self, language, file):
        held, wanted = (dict(leaves(tree)) for tree in (read(language, file), MADE[language, file]))
        changed = sorted(".".join(path) for path in held.keys() | wanted.keys() if held.get(path) != wanted.get(path))
        assert changed == [], f"{AGAIN}{language}/{file}"
        assert read(language, file) == MADE[language, file], f"{AGAIN}{language}/{file}"

    def test_has_every_text_of_the_english_one(self, language, file):
        assert make_locales.missing(MADE, language, file) == {}, f"put them translated into locales/{language}/{file}"
        held = dict(leaves(read(language, file)))
        assert held.keys() == dict(leaves(MADE["en", file])).keys(), f"{AGAIN}{language}/{file}"
        assert all(text.strip() for text in held.values())

    def test_is_translated(self, language, file):
        """Sentences hold characters of their language; a tooltip is never left in English."""
        if language == "en":
            return
        held, native = leaves(read(language, file)), re.compile(NATIVE[language])
        foreign = [p for p, text in held if p[-1] in ("tooltip", "description") and not native.search(text)]
        assert foreign == [], f"still in English: translate them in locales/{language}/{file}"


def test_a_changed_text_is_left_out(monkeypatch):
    """Only that one: what it was translated as no longer holds."""

    def absent():
        made = make_locales.locales()
        return make_locales.missing(made, "ja", "nodeDefs.json").keys()

    before, tree = absent(), make_locales.english()
    tree["nodeDefs.json"]["MGTDecode"]["description"] = "Something else."
    monkeypatch.setattr(make_locales, "english", lambda: tree)
    assert absent() - before == {"MGTDecode.description"}
