"""The film of a first run in README.md: ComfyUI's Templates, a graph, tokens that appear, a picture.

    COMFYUI_PATH=… COMFYUI_PYTHON=… ./mgt film

opens the workflow from the dialog as people do, presses Run, and keeps what the tab showed as
docs/images/first_run.webp, in the time that it took but for what stands still."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from run_workflow import to_api
from support.comfy_host import PACK, Host, Server, make_base, running_server
from support.front_end import DRAWN, FIT, SCREENSHOTS, launched, modes_of, open_front_end
from support.workflow_files import shortened, workflow

if TYPE_CHECKING:
    from playwright import sync_api as playwright

FILM = SCREENSHOTS / "first_run.webp"
TITLE = workflow("text_to_image").stem
WINDOW, SHOWN = {"width": 1280, "height": 720}, (1120, 630)
MOST_BYTES, QUALITIES = 1_200_000, range(80, 20, -10)
SHORTEST_MS, LONGEST_MS, LAST_MS = 90, 900, 2500  # how long a picture stands
# Closer to what a run shows: the prompt, the tokens, the picture.
CLOSER = """() => {
    const shown = app.graph.nodes.filter(node => node.title === 'Prompt'
        || ['MGTSample', 'MGTDecode', 'SaveImage'].includes(node.type)).map(node => node.boundingRect);
    const [left, top] = [0, 1].map(i => Math.min(...shown.map(box => box[i])));
    const [right, bottom] = [0, 1].map(i => Math.max(...shown.map(box => box[i] + box[i + 2])));
    const {width, height} = app.canvas.canvas.getBoundingClientRect(), {ds} = app.canvas, BAR = 70;
    ds.scale = Math.min(1, (width - 2 * BAR) / (right - left), (height - 2 * BAR) / (bottom - top));
    ds.offset[0] = (BAR / 2 + width / 2) / ds.scale - (left + right) / 2;
    ds.offset[1] = (BAR / 2 + height / 2) / ds.scale - (top + bottom) / 2;
    app.canvas.setDirty(true, true);
}"""
ENDED = """() => new Promise(resolve => app.api.addEventListener('execution_success', resolve, {once: true}))"""


class Frame(NamedTuple):
    seconds: float
    data: bytes


class Camera:
    """Everything that a tab paints, with its time."""

    def __init__(self, page: playwright.Page) -> None:
        self.frames: list[Frame] = []
        self.session = page.context.new_cdp_session(page)
        self.session.on("Page.screencastFrame", self.take)
        self.session.send("Page.startScreencast", {"format": "jpeg", "quality": 95})

    def take(self, event: dict) -> None:
        self.frames.append(Frame(event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        self.session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    def stop(self) -> list[Frame]:
        self.session.send("Page.stopScreencast")
        return self.frames


def first_run(page: playwright.Page) -> list[Frame]:
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(PACK, exact=True).first.click()
    card = dialog.get_by_role("img", name=TITLE, exact=True)
    card.wait_for()
    page.wait_for_timeout(1500)
    camera = Camera(page)
    page.wait_for_timeout(1500)
    card.click()
    dialog.wait_for(state="hidden")
    page.wait_for_timeout(500)
    page.evaluate(FIT)
    page.wait_for_timeout(1500)
    page.evaluate(CLOSER)
    page.wait_for_timeout(800)
    page.evaluate(f"() => {{ window.filmed = ({ENDED})() }}")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function("async () => { await window.filmed; return true }")
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(2000)
    return camera.stop()


def timed(frames: list[Frame]) -> tuple[list[Image.Image], list[int]]:
    """Pictures that differ, and for how many milliseconds each stands."""
    pictures: list[Image.Image] = []
    lasting: list[int] = []
    for frame, after in zip(frames, [*frames[1:], None]):
        milliseconds = LAST_MS if after is None else round(1000 * (after.seconds - frame.seconds))
        if lasting and lasting[-1] < SHORTEST_MS:  # too short to be seen: this one in its place, from its time on
            milliseconds += lasting.pop()
            pictures.pop()
        picture = Image.open(io.BytesIO(frame.data)).convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS)
        pictures.append(picture)
        lasting.append(milliseconds)
    return pictures, [*(min(milliseconds, LONGEST_MS) for milliseconds in lasting[:-1]), lasting[-1]]


def save(pictures: list[Image.Image], lasting: list[int], path: Path) -> None:
    first, *others = pictures
    for quality in QUALITIES:
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=lasting,
            loop=0,
            quality=quality,
            method=6,
            minimize_size=True,
            allow_mixed=True,
        )
        if path.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{path.name} does not fit into {MOST_BYTES} bytes")


def film(server: Server, browser: playwright.Browser) -> None:
    opened = open_front_end(server, browser, modes_of(server, browser)[-1])
    opened.page.set_viewport_size(WINDOW)
    pictures, lasting = timed(first_run(opened.page))
    save(pictures, lasting, FILM)
    print(f"{FILM.name}: {len(pictures)} pictures, {sum(lasting) / 1000:.1f} s, {FILM.stat().st_size} bytes")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base")
        with running_server(Host.find(), base) as server, launched() as browser:
            graph = shortened(json.loads(workflow("text_to_image").read_text(encoding="utf-8")))
            server.run(to_api(graph, server.object_info()))  # what is imported once is no part of the film
            server.free()
            film(server, browser)


if __name__ == "__main__":
    main()
