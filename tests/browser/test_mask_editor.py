"""Inpainting with a mask that the mouse paints in the front end's mask editor."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from support.comfy_host import Json, Run, Server, node_id
from support.front_end import FIT, QUEUE, UPDATE, Page, graph_screenshot, open_front_end, screenshot
from support.pack import ROOT
from support.workflow_files import shortened, workflow

PHOTO = ROOT / "workflows" / "mgt_example.png"  # larger than what the model makes: the mask is scaled on its way
STROKE = ((0.3, 0.35), (0.6, 0.4), (0.55, 0.7))  # corners, as shares of the picture
PROMPT = "a panda on a cyan background"

# MASK of Load Image to both nodes that take a mask, as the note in the workflow says, and another prompt.
CONNECT = """prompt => {
    app.graph.nodes.find(node => node.title === 'Prompt').widgets[0].value = prompt;
    const only = type => app.graph.nodes.find(node => node.type === type);
    for (const taker of ['MGTMaskTokens', 'MGTPasteBack']) only('LoadImage').connect(1, only(taker), 'mask');
}"""
UPLOAD = """() => app.graph.nodes.find(node => node.type === 'LoadImage').widgets
    .find(widget => widget.type === 'button').callback()"""
# Where on the screen the title of Load Image is, once it shows a picture of that width; else null.
TITLE = """width => {
    const node = app.graph.nodes.find(node => node.type === 'LoadImage');
    if (node.imgs?.[0]?.naturalWidth !== width) return null;
    const {left, top} = app.canvas.canvas.getBoundingClientRect();
    const {scale, offset} = app.canvas.ds;
    return [left + (node.pos[0] + 40 + offset[0]) * scale, top + (node.pos[1] - 12 + offset[1]) * scale];
}"""
FILE = "() => app.graph.nodes.find(node => node.type === 'LoadImage').widgets[0].value"
# The width of the canvas, then how strongly each pixel is painted, 0 to 255, row by row.
PAINTED = """() => {
    const canvas = document.getElementById('maskCanvas');
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, ...data.filter((_, place) => place % 4 === 3)];
}"""


def paint(page, points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """A stroke with the pen through shares of the picture; [height, width] how the editor then shows it."""
    box = page.locator("#maskCanvas").bounding_box()
    corners = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=12)
    page.mouse.up()
    page.wait_for_timeout(500)  # the editor draws in later frames
    width, *alpha = page.evaluate(PAINTED)
    return np.array(alpha, np.uint8).reshape(-1, width)


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


def test_only_what_was_painted_changes(server: Server, browser) -> None:
    photo = Image.open(PHOTO)
    opened: Page = open_front_end(server, browser)
    page = opened.page
    graph = json.loads(workflow("inpaint").read_text())
    page.evaluate("w => app.loadGraphData(w, true, true, 'inpaint')", graph if UPDATE else shortened(graph, 4))
    page.evaluate(CONNECT, PROMPT)
    with page.expect_file_chooser() as chooser:
        page.evaluate(UPLOAD)
    chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": PHOTO.read_bytes()})
    page.evaluate(FIT)
    page.wait_for_timeout(1000)
    title = page.wait_for_function(TITLE, arg=photo.width).json_value()
    original = scaled(server, page.evaluate("async () => (await app.graphToPrompt()).output"))

    page.mouse.click(*title, button="right")
    page.get_by_text("Open in MaskEditor").click()
    page.wait_for_function(f"() => document.getElementById('maskCanvas')?.width === {photo.width}")
    page.wait_for_timeout(1000)  # it zooms
    painted = paint(page, STROKE)
    assert painted.any() and not painted.all()
    if UPDATE:
        screenshot(page, "mask_editor")
    page.locator("#maskEditor_topBarSaveButton").click()
    page.wait_for_function(f"() => ({FILE})().startsWith('clipspace/')")
    saved = Image.open(server.base / "input" / page.evaluate(FILE).removesuffix(" [input]"))
    assert (np.asarray(saved)[..., 3] == 255 - painted).all()
    assert (np.asarray(saved)[..., :3] == np.asarray(photo.convert("RGB"))).all()

    ended = page.evaluate(QUEUE)
    assert ended["kind"] == "execution_success", ended["detail"]
    assert opened.errors == []
    (picture,) = server.images(Run(ended["detail"]["prompt_id"]))
    picture = np.asarray(picture.convert("RGB"))
    touched = blocks(painted, len(original)) > 0
    changed = (picture != original).any(-1)
    assert not changed[~touched.any(-1)].any()
    assert changed[touched.all(-1)].mean() > 0.9
    if UPDATE:
        graph_screenshot(page, "painted_mask")
