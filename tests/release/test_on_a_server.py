"""What a real ComfyUI server offers of every node: its help page and its texts."""

from __future__ import annotations

import pytest

from support import locales
from support.comfy_host import PACK, Server
from support.help_pages import path_of


def test_every_node_has_a_help_page(server: Server) -> None:
    for name in server.pack_nodes():
        page = server.request(f"/extensions/{PACK}/docs/{name}.md").decode()
        assert len(page) > 100, f"web/docs/{name}.md is all but empty"


@pytest.mark.parametrize("language", locales.languages())
def test_every_node_has_its_help_page_in_every_language(server: Server, language: str) -> None:
    """Where the front end asks first, so that no request of it is answered with 404."""
    for name in server.pack_nodes():
        page = server.request(f"/extensions/{PACK}/docs/{name}/{language}.md")
        assert page == path_of(name, language).read_bytes()


def test_every_node_of_the_server_has_its_texts(server: Server) -> None:
    """As the host describes the nodes itself: each input and output, in English."""
    given = server.json("/i18n")["en"]["nodeDefs"]
    info = server.pack_nodes()
    assert given.keys() == info.keys()
    for name, node in info.items():
        inputs = {**node["input"]["required"], **node["input"].get("optional", {})}
        assert given[name]["inputs"].keys() == inputs.keys()
        assert given[name]["outputs"].keys() == {str(place) for place in range(len(node["output"]))}
