"""The help panel of the front end, and the pictures in it: MGT_UPDATE_SCREENSHOTS=1 draws those of all nodes anew."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from support.comfy_host import PACK, Server
from support.front_end import UPDATE, Page, open_front_end
from support.geometry import settled
from support.pack import ROOT

DOCS = ROOT / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PICTURES = DOCS / "images"
TRIES, SOON_MS = 8, 3000
MARGIN = 12  # pixels around a node in its picture
LEFT, TOP = 400, 120  # where a node stands alone

# A graph that holds this node alone, drawn at its own size, which Nodes 2.0 finds by itself for what is too low;
# answers with the place of the canvas on the screen. Ids are not used again: newer hosts keep the values of nodes.
ALONE = f"""name => {{
    app.graph.clear();
    app.graph.last_node_id = Math.round(performance.now());
    const node = LiteGraph.createNode(name);
    app.graph.add(node);
    node.pos = [0, 0];
    const [width, height] = node.computeSize();
    node.setSize([Math.max(300, width), LiteGraph.vueNodesMode ? 1 : height]);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [{LEFT}, {TOP}];
    app.canvas.draw(true, true);
    const {{left, top}} = app.canvas.canvas.getBoundingClientRect();
    return [left, top];
}}"""
# Once it is there: its address, and whether it is a picture.
LOADED = "async image => { await image.decode(); return [image.src, image.naturalWidth > 0]; }"


def languages() -> list[str]:
    """English, which every page has, and those of the pages beside them."""
    return ["en", *sorted({path.stem for path in DOCS.glob("*/*.md")} - {"en"})]


def page_in(language: str, node: str) -> Path:
    """The page that is written for that language, or the one for all."""
    translated = DOCS / node / f"{language}.md"
    return translated if translated.is_file() else DOCS / f"{node}.md"


@pytest.fixture(scope="module")
def drawing(server: Server, browser, mode: str) -> Iterator[Page]:
    opened = open_front_end(server, browser, mode)
    yield opened
    opened.page.context.close()


def box_of(opened: Page, node: str) -> list[float]:
    """On the screen, of a node that is there alone."""
    left, top = opened.page.evaluate(ALONE, node)
    ((x, y, width, height),) = [found["box"] for found in settled(opened.page)]
    return [left + LEFT + x, top + TOP + y, width, height]


def test_pictures_of_the_nodes(drawing: Page, modes: tuple[str, ...]) -> None:
    """They are drawn by the front end itself, at the size they have there."""
    update = UPDATE and drawing.mode == modes[-1]
    for path in PAGES if update else PAGES[:1]:
        x, y, width, height = box_of(drawing, path.stem)
        clip = {"x": x - MARGIN, "y": y - MARGIN, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}
        picture = Image.open(io.BytesIO(drawing.page.screenshot(clip=clip))).convert("RGB")
        assert len(picture.getcolors(1 << 24)) > 20, f"{path.stem} is not in its picture"
        if update:
            PICTURES.mkdir(exist_ok=True)
            picture.quantize(64).save(PICTURES / f"{path.stem}.png", optimize=True)


def ask_for_help(page, title: tuple[float, float]) -> None:
    """Select the node and press the button beside it, as often as it takes: a click while the page is still busy with
    its start is lost, and the button may be drawn anew under the mouse."""
    from playwright.sync_api import TimeoutError as LateError  # not everybody has it

    for _ in range(TRIES):
        page.mouse.click(*title)
        with suppress(LateError):
            return page.get_by_test_id("info-button").click(timeout=SOON_MS)
    raise AssertionError("no button for help beside the node")


@pytest.mark.parametrize("language", languages())
def test_help_opens_from_the_node_with_its_pictures(server: Server, browser, modes, language: str) -> None:
    """Select a node, ask for its help: the page of the language is there, and nothing that it asks for is missing."""
    server.request("/settings/Comfy.Locale", language)
    try:
        opened = open_front_end(server, browser, modes[-1])
    finally:
        server.request("/settings/Comfy.Locale", "en")
    page, missing = opened.page, []
    page.on("response", lambda answer: answer.status >= 400 and missing.append(urlsplit(answer.url).path))
    expected = []
    for path in PAGES:
        text = page_in(language, path.stem).read_text(encoding="utf-8")
        if page_in(language, path.stem) == path:  # looked for in vain, before the one for all is taken
            expected.append(f"/extensions/{PACK}/docs/{path.stem}/{language}.md")
        left, top = page.evaluate(ALONE, path.stem)
        title = left + LEFT + 60, top + TOP - 15
        ask_for_help(page, title)
        page.get_by_role("heading", level=1, name=text.splitlines()[0].removeprefix("# "), exact=True).wait_for()
        for alt, link in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
            picture = page.get_by_role("img", name=alt, exact=True).first
            assert picture.evaluate(LOADED) == [f"http://{server.address}/extensions/{PACK}/docs/{link}", True]
    assert missing == ([] if language == "en" else expected)
    page.context.close()
