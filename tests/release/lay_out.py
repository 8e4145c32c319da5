"""Lays out workflow files by the room that their nodes take in ComfyUI's front end.

    COMFYUI_PATH=… COMFYUI_PYTHON=… ./mgt layout [NAME or FILE ...]

opens all workflows, or those named, in every mode that this ComfyUI's front end has, runs them in few steps, and gives
each node the largest size that it needs in any of them; nodes stand below each other with room to spare. Nothing else
of a file changes, and laying out anew what is laid out changes nothing."""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from pathlib import Path

from release.arrange import TITLE, Size, arrange, rounded
from release.placed import placed
from support.comfy_host import Host, Json, Server, make_base, running_server
from support.front_end import DEFAULT_BADGES, DRAWN, FIT, QUEUE, Page, launched, modes_of, open_front_end
from support.geometry import NODES, settled
from support.workflow_files import WORKFLOWS, name, shortened

# Of each node: the size of a picture that it shows, and how many pixels of its text do not show. In the canvas, where
# texts out of sight have no size, a copy as wide as the node tells.
CONTENTS = """() => app.graph.nodes.map(node => {
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`);
    const images = drawn ? [...drawn.querySelectorAll('img')] : node.imgs ?? [];
    const image = images.find(image => image.naturalWidth > 32);
    const hidden = (node.widgets ?? []).filter(widget => widget.element?.tagName === 'TEXTAREA').map(widget => {
        const text = widget.element.cloneNode();
        text.value = widget.element.value;
        text.style.cssText = `position: fixed; visibility: hidden; height: 0; width: ${node.size[0] - 20}px`;
        document.body.append(text);
        const height = text.scrollHeight;
        text.remove();
        return height + 20 - widget.computedHeight;
    });
    const clipped = [...drawn?.querySelectorAll('*') ?? []].filter(element =>
        element.clientHeight && getComputedStyle(element).overflowY !== 'visible');
    return {id: Number(node.id), type: node.type, picture: image ? [image.naturalWidth, image.naturalHeight] : null,
        hidden: Math.max(0, ...drawn ? clipped.map(e => e.scrollHeight - e.clientHeight) : hidden)};
})"""
LEAST_PICTURE, CAPTION = 220, 30  # pixels that a node gives to its picture by itself, and to the picture's size
PREVIEWS = {"MGTSample"}  # show square pictures while they run, even if they get none in a short run
WITHOUT_PREVIEWS = "MGTLaboratoryModel"  # its tokens are no pictures
FILLED = 0.85  # of a node's width is as high as a picture needs to be
MOST_TEXT, LINE = 400, 20  # pixels that a text makes a node higher, at most; one line to spare


class NotRunError(Exception):
    """A workflow does not run to its end; the message is the node's."""


def natural(graph: Json) -> Json:
    """A copy that runs in a moment, with nodes no higher than the front end makes them by itself."""
    graph = shortened(graph)
    for node in graph["nodes"]:
        node["size"] = [node["size"][0], 1]
    return graph


def needs(opened: Page, graph: Json) -> dict[int, Size]:
    """The size of every node, opened and run in this mode."""
    page = opened.page
    opened.load(natural(graph), "layout")
    page.evaluate(FIT)
    before = settled(page)
    ended = page.evaluate(QUEUE)
    if ended["kind"] != "execution_success":
        raise NotRunError(ended["detail"].get("exception_message", ended["kind"]).strip())
    page.wait_for_function(DRAWN)
    after, inside = settled(page, NODES), {item["id"]: item for item in settled(page, CONTENTS)}
    previews = set() if any(item["type"] == WITHOUT_PREVIEWS for item in inside.values()) else PREVIEWS
    sizes = {}
    for first, last in zip(before, after):
        item = inside[last["id"]]
        width = rounded(max(last["size"][0], first["needs"][0], last["needs"][0]))
        height = max(*(node["box"][3] - TITLE for node in (first, last)), first["needs"][1], last["needs"][1])
        if item["type"] in previews:
            height = max(height, first["box"][3] - TITLE + LEAST_PICTURE + CAPTION) + more_for([1, 1], width)
        elif item["picture"]:
            height += more_for(item["picture"], width)
        if item["hidden"]:
            height += min(MOST_TEXT, item["hidden"]) + LINE
        sizes[last["id"]] = width, rounded(height)
    return sizes


def more_for(picture: list[int], width: int) -> float:
    """Pixels of height that a picture wants beyond those it is given."""
    return max(0, min(width * FILLED, picture[1] * width / picture[0]) - LEAST_PICTURE)


def lay_out(path: Path, tabs: list[Page], server: Server) -> str:
    """What came of it, in a line."""
    text = path.read_text(encoding="utf-8")
    graph = json.loads(text)
    sizes: dict[int, Size] = {}
    for opened in tabs:
        server.free()  # or nodes would not run again, and show no previews
        for node, size in needs(opened, graph).items():
            sizes[node] = tuple(map(max, size, sizes.get(node, size)))
    arranged = copy.deepcopy(graph)
    arrange(arranged, sizes)
    if arranged == graph:
        return "is laid out"
    path.write_text(placed(text, arranged), encoding="utf-8")
    moved = sum(a != b for a, b in zip(graph["nodes"], arranged["nodes"]))
    return f"{moved} of {len(sizes)} nodes moved or sized, {extent(graph)} -> {extent(arranged)}"


def extent(graph: Json) -> str:
    """Width and height of all nodes together."""
    low = [min(node["pos"][i] for node in graph["nodes"]) for i in (0, 1)]
    high = [max(node["pos"][i] + node["size"][i] for node in graph["nodes"]) for i in (0, 1)]
    return " x ".join(str(round(b - a)) for a, b in zip(low, high))


def chosen(names: list[str]) -> list[Path]:
    """Files by path or by name."""
    paths = [Path(given) for given in names if given.endswith(".json")]
    wanted = {given for given in names if not given.endswith(".json")}
    found = [path for path in WORKFLOWS if not names or name(path) in wanted]
    if missing := wanted - set(map(name, found)):
        raise SystemExit(f"no workflow is called {', '.join(sorted(missing))}")
    return found + paths


def main(names: list[str]) -> int:
    """How many could not be laid out."""
    from playwright.sync_api import Error as BrowserError  # not everybody has it

    paths = chosen(names)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base")
        with running_server(Host.find(), base) as server, launched() as browser:
            tabs = [open_front_end(server, browser, mode, DEFAULT_BADGES) for mode in modes_of(server, browser)]
            print("in the modes", ", ".join(tab.mode for tab in tabs))
            for path in paths:
                try:
                    done = lay_out(path, tabs, server)
                except (NotRunError, BrowserError, AssertionError) as error:
                    done, failed = f"left as it is, since it does not run: {error}", failed + 1
                print(f"{name(path)}: {done}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
