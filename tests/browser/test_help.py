"""The help panel of the front end, and the pictures in it: MGT_UPDATE_SCREENSHOTS=1 draws those of all nodes anew."""

from __future__ import annotations

import io
import os
import re

import pytest
from PIL import Image

from support.comfy_host import PACK, Server
from support.front_end import open_front_end
from support.pack import ROOT

PAGES = sorted((ROOT / "web" / "docs").glob("*.md"))
PICTURES = ROOT / "web" / "docs" / "images"
MARGIN = 12  # pixels around a node in its picture

# A graph that holds this node alone, drawn at its own size; answers with its box on the screen.
ALONE = """async name => {
    app.graph.clear();
    const node = LiteGraph.createNode(name);
    app.graph.add(node);
    node.pos = [0, 0];
    node.setSize([Math.max(300, node.computeSize()[0]), node.computeSize()[1]]);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [400, 120];
    app.canvas.draw(true, true);
    await new Promise(done => setTimeout(done, 150));
    const {left, top} = app.canvas.canvas.getBoundingClientRect();
    const [x, y, width, height] = node.boundingRect;
    return {x: left + 400 + x, y: top + 120 + y, width, height};
}"""
# What the front end makes of a help page: the store behind the panel, and the pictures in its HTML.
HELP = """async ([name, title]) => {
    const pinia = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia;
    const store = pinia._s.get('nodeHelp');
    store.openHelp(pinia._s.get('nodeDef').nodeDefsByName[name]);
    const shown = () => store.renderedHelpHtml.includes(`<h1>${title}</h1>`);
    for (let tries = 0; !shown() && tries < 1000; tries++) await new Promise(done => setTimeout(done, 20));
    const page = new DOMParser().parseFromString(store.renderedHelpHtml, 'text/html');
    return [...page.querySelectorAll('img')].map(image => image.getAttribute('src'));
}"""


@pytest.fixture(scope="module")
def page(server: Server, browser):
    return open_front_end(server, browser).page


def test_pictures_of_the_nodes(page) -> None:
    """They are drawn by the front end itself, at the size they have there."""
    update = os.environ.get("MGT_UPDATE_SCREENSHOTS") == "1"
    for path in PAGES if update else PAGES[:1]:
        box = page.evaluate(ALONE, path.stem)
        clip = {key: box[key] - MARGIN for key in ("x", "y")}
        clip |= {key: box[key] + 2 * MARGIN for key in ("width", "height")}
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
        assert len(picture.getcolors(1 << 24)) > 20, f"{path.stem} is not in its picture"
        if update:
            PICTURES.mkdir(exist_ok=True)
            picture.quantize(64).save(PICTURES / f"{path.stem}.png", optimize=True)


def test_help_pages_show_their_pictures(page, server: Server) -> None:
    """As the panel renders them: each link leads to a picture that the server hands out."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
        shown = page.evaluate(HELP, [path.stem, text.splitlines()[0].removeprefix("# ")])
        assert shown == [f"/extensions/{PACK}/docs/{link}" for link in linked]
        for source in shown:
            Image.open(io.BytesIO(server.request(source))).verify()
