"""Names and tooltips as the front end shows them to a person who has chosen a language."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support import locales
from support.comfy_host import Server
from support.front_end import open_front_end

# Each text as the front end's own translator gives it in the chosen language: it reads some signs as commands.
TRANSLATED = """keys => {
    const translate = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$t;
    return keys.map(key => translate(key));
}"""
TITLES = "names => names.map(name => LiteGraph.registered_node_types[name].title)"
TRIES = 6  # to open the search
LABELS = "name => LiteGraph.createNode(name).inputs.map(input => input.localized_name).filter(Boolean)"


def plain(text: str) -> str:
    return re.sub(r"\{'(.)'\}", r"\1", text)


@pytest.fixture(scope="module", params=locales.languages())
def language(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(server: Server, browser, language: str) -> Iterator:
    server.request("/settings/Comfy.Locale", language)
    try:
        opened = open_front_end(server, browser)
        titles = {name: entry["display_name"] for name, entry in locales.read(language, "nodeDefs.json").items()}
        shown = f"([names, titles]) => String(({TITLES})(names)) === String(titles)"
        opened.page.wait_for_function(shown, arg=[list(titles), list(titles.values())])
    finally:
        server.request("/settings/Comfy.Locale", "en")
    yield opened.page
    opened.page.context.close()


def test_every_text_reads_as_it_was_written(page, language: str) -> None:
    texts = dict(locales.leaves(locales.read(language, "nodeDefs.json"), ("nodeDefs",)))
    shown = page.evaluate(TRANSLATED, [".".join(path) for path in texts])
    assert shown == [plain(text) for text in texts.values()]


def test_sockets_are_called_in_the_language(page, language: str) -> None:
    """Every label that is there is the translation of an input, and the one of a socket is there."""
    names = locales.read(language, "nodeDefs.json")["MGTSample"]["inputs"]
    labels = page.evaluate(LABELS, "MGTSample")
    assert set(labels) <= {entry["name"] for entry in names.values()}
    assert names["positive"]["name"] in labels


def test_the_title_of_a_node_is_seen(page, language: str) -> None:
    """As a person finds it who looks for it by double click and name."""
    title = locales.read(language, "nodeDefs.json")["MGTSample"]["display_name"]
    page.evaluate("() => app.graph.clear()")
    found = page.get_by_text(title, exact=True).filter(visible=True).first
    for _ in range(TRIES):  # a click while the page is still busy with its start is lost
        page.mouse.dblclick(800, 600)
        page.wait_for_timeout(1000)
        page.keyboard.type(title)
        page.wait_for_timeout(2000)
        if found.is_visible():
            break
        page.keyboard.press("Escape")
    assert found.is_visible()
    page.keyboard.press("Escape")
