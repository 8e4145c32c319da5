"""What people type who look for these nodes leads to them."""

from __future__ import annotations

import pytest

from support.comfy_host import Server
from support.front_end import open_front_end
from support.host_version import newer_only


@pytest.fixture(scope="module")
def page(server: Server, browser):
    newer_only(server, "search by aliases")
    return open_front_end(server, browser).page


def found(page, words: str, of_packs: bool = False) -> list[str]:
    """The names that the search lists, from the top."""
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("combobox", name="Add a node")
    box.fill(words)
    if of_packs:
        dialog.get_by_role("button", name="Extensions").click()
    page.wait_for_timeout(1500)  # it searches when the typing pauses
    names = [option.inner_text().splitlines()[0] for option in page.get_by_role("option").all()]
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    return names


def test_meissonic_leads_to_the_node_that_loads_it(page) -> None:
    names = found(page, "meissonic")
    assert names[0] == "MGT Load Model"
    assert "MGT Sample" in names


def test_ksampler_leads_to_ours(page) -> None:
    """The front end ranks by names and by how often others are used: all of its own samplers come before."""
    assert "MGT Sample" in found(page, "ksampler")
    assert found(page, "ksampler", of_packs=True)[0] == "MGT Sample"


def test_the_ready_made_subgraphs_are_found(page) -> None:
    assert found(page, "MGT Text to Image")[0] == "MGT Text to Image"
    assert found(page, "MGT Image to Image")[0] == "MGT Image to Image"
