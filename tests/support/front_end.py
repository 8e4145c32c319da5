"""ComfyUI's own front end in a real browser: tabs, what is asked of them, and screenshots."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from PIL import Image

from .comfy_host import Json, Server
from .pack import ROOT

if TYPE_CHECKING:
    from playwright import sync_api as playwright

SCREENSHOTS = ROOT / "docs" / "images"
UPDATE = os.environ.get("MGT_UPDATE_SCREENSHOTS") == "1"
SIZE = {"width": 1600, "height": 900}
CLOSENESS, BESIDE = 0.7, (120, 110)  # scale of a graph in its screenshot; pixels of the window around it
SMALLEST = (1200, 700)
COLOURS, MOST_BYTES = (128, 64, 32), 150_000  # of a screenshot
PATIENCE_MS = 300_000

# Queue once; answer how it ended and how many live previews came before.
QUEUE = """async () => {
    const kinds = ['execution_success', 'execution_error', 'execution_interrupted'];
    const end = new Promise(resolve => kinds.forEach(kind =>
        app.api.addEventListener(kind, event => resolve({kind, detail: event.detail}))));
    let previews = 0;
    app.api.addEventListener('b_preview', () => { previews += 1; });
    await app.queuePrompt(0, 1);
    return {...(await end), previews};
}"""
# The whole graph, as large as fits between the side bar and the right edge; answers with its width and height.
FIT = """() => {
    const boxes = [...app.graph.nodes, ...app.graph.groups].map(item => item.boundingRect);
    const [left, top] = [0, 1].map(i => Math.min(...boxes.map(box => box[i])));
    const [right, bottom] = [0, 1].map(i => Math.max(...boxes.map(box => box[i] + box[i + 2])));
    app.canvas.ds.fitToBounds([left, top, right - left, bottom - top], {zoom: 0.92});
    app.canvas.setDirty(true, true);
    return [right - left, bottom - top];
}"""
# Every node that shows pictures has got them.
DRAWN = """() => app.graph.nodes.every(node =>
    node.mode !== 0 || !['LoadImage', 'SaveImage', 'PreviewImage'].includes(node.type)
    || (node.imgs?.length && node.imgs.every(image => image.complete && image.naturalWidth)))"""


class Page:
    """The front end with the graph loaded, and the errors it has reported since."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.errors: list[str] = []

    def watch(self) -> None:
        """Collect errors from here on; the host's own while it starts are not ours."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))


def answer(route: playwright.Route) -> None:
    """In the place of the internet: a workflow's models to download are asked how large they are."""
    if route.request.method == "HEAD":
        route.fulfill(status=200, headers={"access-control-allow-origin": "*", "content-length": "1"})
    else:
        route.abort()


def open_front_end(server: Server, browser: playwright.Browser) -> Page:
    """A fresh tab that can reach nothing but the server."""
    context = browser.new_context(viewport=SIZE)
    own = (f"http://{server.address}/", "data:", "blob:")
    context.route(lambda url: not url.startswith(own), answer)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"http://{server.address}/")
    registered = "names => names.every(n => window.LiteGraph?.registered_node_types?.[n])"
    page.wait_for_function(f"({registered})", arg=sorted(server.pack_nodes()))
    page.wait_for_function("() => window.app?.extensionManager?.command && app.graph")
    page.keyboard.press("Escape")
    opened = Page(page)
    opened.watch()
    return opened


def screenshot(page: playwright.Page, name: str) -> None:
    """Keeps what the tab shows as docs/images/comfyui_<name>.png, in as many colours as fit into a small file."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = SCREENSHOTS / f"comfyui_{name}.png"
    for colours in COLOURS:
        picture.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            break


def graph_screenshot(page: playwright.Page, name: str) -> None:
    """The same of a graph that has run, in a window of the size it needs."""
    page.evaluate("() => app.canvas.deselectAll()")
    sides = zip(page.evaluate(FIT), BESIDE, SMALLEST, strict=True)
    width, height = (max(least, round(CLOSENESS * side + more)) for side, more, least in sides)
    page.set_viewport_size({"width": width, "height": height})
    page.mouse.move(width - 5, height / 2)  # nothing is there that has a tooltip
    page.wait_for_timeout(1000)
    page.evaluate(FIT)
    page.wait_for_function(DRAWN)  # a node fetches its pictures when it comes into view
    page.wait_for_timeout(1500)  # the view moves to its place
    screenshot(page, name)
    page.set_viewport_size(SIZE)


def links_and_values(prompt: Json) -> Json:
    """Class and inputs by node id, of a prompt in API format."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


def contents(graph: Json) -> Json:
    """Type and widget values by node id, of a graph in UI format."""
    return {n["id"]: (n["type"], n.get("widgets_values") or []) for n in graph["nodes"]}
