"""Inpainting with a mask that the mouse paints in the front end's mask editor."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from support.comfy_host import Json, Run, Server, node_id
from support.front_end import FIT, QUEUE, UPDATE, graph_screenshot, open_front_end, screenshot
from support.pack import ROOT
from support.workflow_files import shortened, workflow

PHOTO = ROOT / "workflows" / "mgt_example.png"  # larger than what the model makes: the mask is scaled on its way
NAME = "photo.png"
STROKE = ((0.3, 0.35), (0.6, 0.4), (0.55, 0.7))  # corners, as shares of the picture
PROMPT = "a panda on a cyan background"

# MASK of Load Image to both nodes that take a mask, as the note in the workflow says, and another prompt.
CONNECT = """prompt => {
    app.graph.nodes.find(node => node.title === 'Prompt').widgets[0].value = prompt;
    const only = type => app.graph.nodes.find(node => node.type === type);
    for (const taker of ['MGTMaskTokens', 'MGTPasteBack']) only('LoadImage').connect(1, only(taker), 'mask');
}"""
LOADED = "width => app.graph.nodes.find(node => node.type === 'LoadImage').imgs?.[0]?.naturalWidth === width"
# As the button over the selected node does.
OPEN_EDITOR = """() => {
    app.canvas.selectNode(app.graph.nodes.find(node => node.type === 'LoadImage'));
    app.extensionManager.command.execute('Comfy.MaskEditor.OpenMaskEditor');
}"""
FILE = "() => app.graph.nodes.find(node => node.type === 'LoadImage').widgets[0].value"
# Where on the screen the picture lies in the editor, which has canvases of the picture's size; else null.
PICTURE = """([width, height]) => {
    const found = [...document.querySelectorAll('canvas')].find(canvas =>
        canvas !== app.canvas.canvas && canvas.width === width && canvas.height === height);
    const {x, y, width: w, height: h} = found?.getBoundingClientRect() ?? {};
    return w > 100 ? [x, y, w, h] : null;
}"""


def paint(page, box: list[float], points: tuple[tuple[float, float], ...]) -> None:
    """A stroke with the pen through shares of the picture."""
    corners = [(box[0] + box[2] * x, box[1] + box[3] * y) for x, y in points]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=12)
    page.mouse.up()
    page.wait_for_timeout(1000)  # the editor draws in later frames


def scaled(server: Server, prompt: Json) -> np.ndarray:
    """The loaded picture as ComfyUI's Upscale Image hands it on."""
    scale = node_id(prompt, "ImageScale")
    kept = {key: prompt[key] for key in (node_id(prompt, "LoadImage"), scale)}
    kept["save"] = {"class_type": "SaveImage", "inputs": {"images": [scale, 0], "filename_prefix": "scaled"}}
    (image,) = server.images(server.run(kept))
    return np.asarray(image.convert("RGB"))


def blocks(values: np.ndarray, side: int) -> np.ndarray:
    """[height, width] -> [side, side, n]: the pixels of the mask that lie under each pixel of the picture."""
    each = len(values) // side
    return values.reshape(side, each, side, each).swapaxes(1, 2).reshape(side, side, -1)


def test_only_what_was_painted_changes(server: Server, browser, mode: str, modes: tuple[str, ...]) -> None:
    pictured = UPDATE and mode == modes[-1]
    photo = Image.open(PHOTO)
    (server.base / "input" / NAME).write_bytes(PHOTO.read_bytes())
    opened = open_front_end(server, browser, mode)
    page = opened.page
    graph = json.loads(workflow("inpaint").read_text())
    for node in graph["nodes"]:
        if node["type"] == "LoadImage":
            node["widgets_values"][0] = NAME
    opened.load(graph if pictured else shortened(graph, 4), "inpaint")
    page.evaluate(CONNECT, PROMPT)
    page.evaluate(FIT)
    page.wait_for_function(LOADED, arg=photo.width)
    original = scaled(server, page.evaluate("async () => (await app.graphToPrompt()).output"))

    page.evaluate(OPEN_EDITOR)
    page.wait_for_function(PICTURE, arg=list(photo.size))
    page.wait_for_timeout(2000)  # it zooms
    paint(page, page.evaluate(PICTURE, list(photo.size)), STROKE)
    if pictured:
        screenshot(page, "mask_editor")
    page.get_by_text("Save", exact=True).filter(visible=True).click()
    page.wait_for_function(f"name => !({FILE})().startsWith(name)", arg=NAME)
    saved = np.asarray(Image.open(server.base / "input" / page.evaluate(FILE).removesuffix(" [input]")))
    assert (saved[..., :3] == np.asarray(photo.convert("RGB"))).all()
    painted = 255 - saved[..., 3]
    height, width = painted.shape
    assert all(painted[round(y * height), round(x * width)] > 200 for x, y in STROKE)
    assert not any(painted[y, x] for x in (0, -1) for y in (0, -1))

    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    assert opened.errors == []
    (picture,) = server.images(Run(ended["detail"]["prompt_id"]))
    picture = np.asarray(picture.convert("RGB"))
    touched = blocks(painted, len(original)) > 0
    changed = (picture != original).any(-1)
    assert not changed[~touched.any(-1)].any()
    assert changed[touched.all(-1)].mean() > 0.9
    if pictured:
        graph_screenshot(page, "painted_mask")
    page.context.close()
