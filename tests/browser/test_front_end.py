"""The shared graph in ComfyUI's own front end, driven through a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from comfy_host import ROOT, Json, Server, node_id

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SCREENSHOT = ROOT / "docs" / "images" / "comfyui_text_to_image.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1600, "height": 900}
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
SHOWN = """([type, width, height]) => app.graph.nodes.some(node => node.type === type
    && node.imgs?.some(i => i.complete && i.naturalWidth === width && i.naturalHeight === height))"""
# The whole graph, as large as fits between the side bar and the right edge.
FIT = """() => {
    const boxes = [...app.graph.nodes, ...app.graph.groups].map(item => item.boundingRect);
    const [left, top] = [0, 1].map(i => Math.min(...boxes.map(box => box[i])));
    const [right, bottom] = [0, 1].map(i => Math.max(...boxes.map(box => box[i] + box[i + 2])));
    app.canvas.ds.fitToBounds([left, top, right - left, bottom - top], {zoom: 0.92});
    app.canvas.setDirty(true, true);
}"""


class Page:
    """The front end with the graph loaded, and the errors it has reported since."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.errors: list[str] = []

    def watch(self) -> None:
        """Collect errors from here on; the host's own while it starts are not ours."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    path = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        pytest.skip("no Chromium found: install it or set CHROMIUM_PATH")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def open_front_end(server: Server, browser: playwright.Browser) -> Page:
    """A fresh tab that can reach nothing but the server."""
    context = browser.new_context(viewport=SIZE)
    own = (f"http://{server.address}/", "data:", "blob:")
    context.route(lambda url: not url.startswith(own), lambda route: route.abort())
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


@pytest.fixture(scope="module")
def front_end(server: Server, browser: playwright.Browser, workflow: Json) -> Page:
    """The workflow opened in a tab of its own."""
    opened = open_front_end(server, browser)
    opened.page.evaluate("w => app.loadGraphData(w, true, true, 'text_to_image')", workflow)
    return opened


def links_and_values(prompt: Json) -> Json:
    """Class and inputs by node id, of a prompt in API format."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}


def contents(graph: Json) -> Json:
    """Type and widget values by node id, of a graph in UI format."""
    return {n["id"]: (n["type"], n.get("widgets_values") or []) for n in graph["nodes"]}


def test_the_graph_is_the_one_that_the_runner_sees(front_end: Page, prompt: Json) -> None:
    made = front_end.page.evaluate("async () => (await app.graphToPrompt()).output")
    assert links_and_values(made) == links_and_values(prompt)


def test_no_node_is_missing_and_no_widget_stray(front_end: Page, workflow: Json) -> None:
    """Loading and saving changes neither the nodes nor the values in their widgets."""
    saved = front_end.page.evaluate("() => app.graph.serialize()")
    assert contents(saved) == contents(workflow)


def test_a_queued_graph_shows_its_picture(front_end: Page, prompt: Json) -> None:
    page = front_end.page
    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    assert ended["previews"] > 0, "no live preview reached the front end"
    size = prompt[node_id(prompt, "MGTEmptyTokens")]["inputs"]
    page.wait_for_function(SHOWN, arg=["SaveImage", size["width"], size["height"]])
    assert front_end.errors == []

    if os.environ.get("MGT_UPDATE_SCREENSHOTS") == "1":
        page.evaluate(FIT)
        page.mouse.move(SIZE["width"] / 2, SIZE["height"] - 20)
        page.wait_for_timeout(1500)  # the view moves to its place
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOT)
