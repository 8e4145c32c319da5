"""The pack's page in the front end's template browser."""

from __future__ import annotations

from urllib.parse import quote

from support.comfy_host import PACK, Server
from support.front_end import UPDATE, open_front_end, screenshot
from support.workflow_files import THUMBNAIL_SIDE, WORKFLOWS

SAFE = "()"  # in names, which the front end leaves to the browser to quote
LIST = ".p-dataview-content"
DRAWN = f"side => [...document.querySelectorAll('{LIST} img')].some(image => image.naturalWidth === side)"


def test_every_workflow_is_offered_with_its_thumbnail(server: Server, browser) -> None:
    opened = open_front_end(server, browser)
    page = opened.page
    answers: dict[str, int] = {}
    page.on("response", lambda answer: answers.update({answer.url: answer.status}))
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK, exact=True).first.click()
    page.wait_for_function(DRAWN, arg=THUMBNAIL_SIDE)
    if UPDATE:
        page.wait_for_timeout(1500)
        screenshot(page, "templates")
    folder = f"http://{server.address}/api/workflow_templates/{PACK}/"
    wanted = {f"{folder}{quote(path.stem, safe=SAFE)}.jpg" for path in WORKFLOWS if path.with_suffix(".jpg").exists()}
    for _ in range(100):  # more are fetched when the list is scrolled
        if wanted <= answers.keys():
            break
        page.locator(LIST).evaluate("list => list.scrollBy(0, list.clientHeight / 2)")
        page.wait_for_timeout(300)
    assert {answers.get(address) for address in wanted} == {200}
    assert opened.errors == []
