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


def test_every_node_of_the_server_has_its_texts(server: Server) -> None:
    """As the host describes the nodes itself: each input and output, in English."""
    given = server.json("/i18n")["en"]["nodeDefs"]
    info = server.pack_nodes()
    assert given.keys() == info.keys()
    for name, node in info.items():
        inputs = {**node["input"]["required"], **node["input"].get("optional", {})}
        assert given[name]["inputs"].keys() == inputs.keys()
        assert given[name]["outputs"].keys() == {str(place) for place in range(len(node["output"]))}
