"""What ComfyUI reads of the locale files."""

from __future__ import annotations

import pytest

from support import locales
from support.comfy_host import Server


@pytest.mark.parametrize("language", locales.languages())
def test_the_server_hands_out_every_text(server: Server, language: str) -> None:
    given = server.json("/i18n")[language]
    assert given["nodeDefs"] == locales.read(language, "nodeDefs.json")
    assert given["nodeCategories"] == locales.read(language, "main.json")["nodeCategories"]
