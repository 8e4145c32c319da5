"""Our workflows are listed by name in the front end, whatever order the server's disk gives them in."""

from __future__ import annotations

import pytest

from support.comfy_host import PACK, Server
from support.front_end import open_front_end
from support.workflow_files import WORKFLOWS

LISTED = "async () => await app.api.getWorkflowTemplates()"
OTHERS = ["b", "a", "c"]


@pytest.fixture(scope="module")
def page(server: Server, browser):
    return open_front_end(server, browser).page


def test_ours_are_sorted_without_links_and_others_left_alone(page) -> None:
    given = {PACK: ["10 Ten", "02 Two", "one", "01 One"], "other-pack": OTHERS}
    page.route("**/api/workflow_templates", lambda route: route.fulfill(json=given))
    listed = page.evaluate(LISTED)
    page.unroute("**/api/workflow_templates")
    assert listed == {PACK: ["01 One", "02 Two", "10 Ten"], "other-pack": OTHERS}


def test_none_is_lost(page) -> None:
    assert sorted(page.evaluate(LISTED)[PACK]) == sorted(path.stem for path in WORKFLOWS)
