"""ComfyUI's own front end in a real browser: tabs, what is asked of them, and screenshots."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from .comfy_host import Json, Server
from .pack import ROOT

if TYPE_CHECKING:
    from playwright import sync_api as playwright

SCREENSHOTS = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CLASSIC, NODES_2 = MODES = "classic", "nodes_2"  # nodes drawn into a canvas, or elements of the page (Nodes 2.0)
NODES_2_SETTING, BADGES_SETTING = "Comfy.VueNodes.Enabled", "Comfy.NodeBadge.NodeSourceBadgeMode"
PANEL_SETTING = "Comfy.RightSidePanel.IsOpen"
NO_BADGES, DEFAULT_BADGES = "None", "Hide built-in"  # which nodes show what pack they are of
UPDATE = os.environ.get("MGT_UPDATE_SCREENSHOTS") == "1"
SIZE = {"width": 1600, "height": 900}
CLOSENESS, BESIDE = 0.7, (140, 190)  # scale of a graph in its screenshot; pixels of the window around it
SMALLEST = (1200, 700)
SETTLE_MS = 6000  # until what the host says of the run is gone again
QUALITIES, MOST_BYTES = range(60, 30, -5), 120_000  # of a screenshot
PATIENCE_MS = 120_000

# Whether a person finds Nodes 2.0 among the settings; older front ends have it hidden and half done.
OFFERED = f"""() => {{
    const setting = app.ui.settings.settingsLookup['{NODES_2_SETTING}'];
    return !!setting && setting.type !== 'hidden';
}}"""
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
# The whole graph, as large as fits between the bars at the left and at the top; answers with its width and height.
FIT = """() => {
    const boxes = [...app.graph.nodes, ...app.graph.groups].map(item => item.boundingRect);
    const [left, top] = [0, 1].map(i => Math.min(...boxes.map(box => box[i])));
    const [right, bottom] = [0, 1].map(i => Math.max(...boxes.map(box => box[i] + box[i + 2])));
    const {width, height} = app.canvas.canvas.getBoundingClientRect(), BAR = 70, EDGE = 20;
    const {ds} = app.canvas, [across, down] = [right - left, bottom - top];
    ds.scale = Math.min(1, (width - BAR - EDGE) / across, (height - BAR - EDGE) / down);
    ds.offset[0] = (BAR + width - EDGE) / 2 / ds.scale - left - across / 2;
    ds.offset[1] = (BAR + height - EDGE) / 2 / ds.scale - top - down / 2;
    app.canvas.setDirty(true, true);
    return [across, down];
}"""
# Every node that shows pictures has got them. In Nodes 2.0 they are elements of the page, and of many one is shown.
DRAWN = """() => app.graph.nodes.every(node => {
    if (node.mode !== 0 || !['LoadImage', 'SaveImage', 'PreviewImage'].includes(node.type)) return true;
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`);
    const images = drawn ? [...drawn.querySelectorAll('img')] : node.imgs ?? [];
    return images.length && images.every(image => image.complete && image.naturalWidth);
})"""


class Page:
    """The front end in one of its modes, and the errors it has reported since."""

    def __init__(self, page: playwright.Page, own: str, mode: str) -> None:
        self.page = page
        self.own = own
        self.mode = mode
        self.errors: list[str] = []

    def watch(self) -> None:
        """Collect errors from here on; the host's own while it starts are not ours."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.note(line.text))

    def note(self, text: str) -> None:
        """Not what the browser says of a call to elsewhere that the server's policy forbids: the host asks there for
        models of its own first graph, whenever it likes."""
        elsewhere = [address for address in re.findall(r"https?://[^\s'\"]+", text) if not address.startswith(self.own)]
        if not (elsewhere and "Content Security Policy" in text):
            self.errors.append(text)

    def load(self, graph: Json, name: str) -> None:
        """Open a graph as people do, whether its models are there or not."""
        self.page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [graph, name])
        if graph.get("models") or any(node.get("properties", {}).get("models") for node in graph["nodes"]):
            self.page.keyboard.press("Escape")  # the dialog that offers them


def answer(route: playwright.Route) -> None:
    """In the place of the internet: a workflow's models to download are asked how large they are."""
    if route.request.method == "HEAD":
        route.fulfill(status=200, headers={"access-control-allow-origin": "*", "content-length": "1"})
    else:
        route.abort()


def open_front_end(server: Server, browser: playwright.Browser, mode: str = CLASSIC, badges: str = NO_BADGES) -> Page:
    """A fresh tab that can reach nothing but the server."""
    server.request(f"/settings/{NODES_2_SETTING}", mode == NODES_2)
    server.request(f"/settings/{BADGES_SETTING}", badges)
    server.request(f"/settings/{PANEL_SETTING}", False)  # as asking for help leaves it open
    context = browser.new_context(viewport=SIZE)
    origin = f"http://{server.address}/"
    own = (origin, "data:", "blob:")
    context.route(lambda url: not url.startswith(own), answer)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(origin)
    registered = "names => names.every(n => window.LiteGraph?.registered_node_types?.[n])"
    page.wait_for_function(f"({registered})", arg=sorted(server.pack_nodes()))
    page.wait_for_function("() => window.app?.extensionManager?.command && app.graph")
    page.keyboard.press("Escape")
    opened = Page(page, origin, mode)
    opened.watch()
    return opened


def browser_path() -> str | None:
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def launched() -> Iterator[playwright.Browser]:
    from playwright.sync_api import sync_playwright  # not everybody has it

    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=browser_path(), args=arguments)
        yield browser
        browser.close()


def modes_of(server: Server, browser: playwright.Browser) -> tuple[str, ...]:
    """Those that a person can choose in this front end."""
    opened = open_front_end(server, browser)
    modes = MODES if opened.page.evaluate(OFFERED) else (CLASSIC,)
    opened.page.context.close()
    return modes


def screenshot(page: playwright.Page, name: str) -> None:
    """Keeps what the tab shows as docs/images/comfyui_<name>.webp, in the best quality that makes a small file."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = SCREENSHOTS / f"comfyui_{name}.webp"
    for quality in QUALITIES:
        picture.save(path, quality=quality, method=6)
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
    page.wait_for_timeout(SETTLE_MS)
    screenshot(page, name)
    page.set_viewport_size(SIZE)


def links_and_values(prompt: Json) -> Json:
    """Class and inputs by node id, of a prompt in API format."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


def contents(graph: Json) -> Json:
    """Type and widget values by node id, of a graph in UI format."""
    return {n["id"]: (n["type"], n.get("widgets_values") or []) for n in graph["nodes"]}
