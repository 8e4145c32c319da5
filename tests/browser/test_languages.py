"""Names and tooltips as the front end shows them in each language."""

from __future__ import annotations

import re

import pytest

from support import locales
from support.comfy_host import Server
from support.front_end import open_front_end

# Each text as the front end's own translator gives it, which reads some signs as commands.
TRANSLATED = """([language, keys]) => {
    const translate = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t;
    return keys.map(key => translate(key, {}, {locale: language}));
}"""


def plain(text: str) -> str:
    return re.sub(r"\{'(.)'\}", r"\1", text)


@pytest.fixture(scope="module")
def page(server: Server, browser):
    return open_front_end(server, browser).page


@pytest.mark.parametrize("language", locales.languages())
def test_every_text_reads_as_it_was_written(page, language: str) -> None:
    texts = dict(locales.leaves(locales.read(language, "nodeDefs.json"), ("nodeDefs",)))
    shown = page.evaluate(TRANSLATED, [language, [".".join(path) for path in texts]])
    assert shown == [plain(text) for text in texts.values()]


def test_a_person_who_reads_japanese_sees_japanese(server: Server, browser) -> None:
    server.request("/settings/Comfy.Locale", "ja")
    try:
        page = open_front_end(server, browser).page
        title = page.evaluate("() => LiteGraph.registered_node_types.MGTSample.title")
        labels = page.evaluate("() => LiteGraph.createNode('MGTSample').inputs.map(input => input.localized_name)")
    finally:
        server.request("/settings/Comfy.Locale", "en")
    names = locales.read("ja", "nodeDefs.json")["MGTSample"]
    assert title == names["display_name"]
    assert {label for label in labels if label} <= {entry["name"] for entry in names["inputs"].values()}
    assert names["inputs"]["positive"]["name"] in labels
