"""The pack's page in the front end's template browser."""

from __future__ import annotations

from support.comfy_host import PACK, Server
from support.front_end import UPDATE, open_front_end, screenshot
from support.workflow_files import THUMBNAIL_SIDE, WORKFLOWS

# Names of the pictures in the dialog that have come, with their widths: a picture comes when its place is scrolled to.
SHOWN = """() => Object.fromEntries([...document.querySelectorAll('[role=dialog] img')]
    .filter(image => image.complete && image.naturalWidth).map(image => [image.alt, image.naturalWidth]))"""
# The one that lies at the top, wherever others come before it: the mouse is to be in the dialog as it turns its wheel.
FIRST = "() => (image => image?.naturalWidth && image.alt)(document.querySelector('[role=dialog] img'))"
SCROLLS = 150


def test_every_workflow_is_offered_with_its_thumbnail(server: Server, browser, modes: tuple[str, ...]) -> None:
    """Under the name of its file, which is the name of its picture."""
    opened = open_front_end(server, browser, modes[-1])
    page = opened.page
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(PACK, exact=True).first.click()
    first = page.wait_for_function(FIRST).json_value()
    if UPDATE:
        page.wait_for_timeout(1500)
        screenshot(page, "templates")
    wanted = {path.stem: THUMBNAIL_SIDE for path in WORKFLOWS if path.with_suffix(".jpg").exists()}
    shown: dict[str, int] = {}
    box = dialog.get_by_role("img", name=first, exact=True).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(SCROLLS):
        shown |= page.evaluate(SHOWN)
        if wanted.keys() <= shown.keys():
            break
        page.mouse.wheel(0, 200)
        page.wait_for_timeout(200)
    assert {name: side for name, side in shown.items() if name in wanted} == wanted
    assert opened.errors == []
    page.context.close()
