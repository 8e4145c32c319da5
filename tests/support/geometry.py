"""Where the nodes of the open graph stand on the canvas, as a person sees them, in both modes of the front end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy_host import Json

if TYPE_CHECKING:
    from playwright import sync_api as playwright

Box = list[float]  # left, top, width, height, in the graph's own unit

# In Nodes 2.0 a node is an element of the page, which alone knows how much room it takes; else it is drawn into the
# canvas, and where badges are shown, one stands on its title. `covered`: another node lies over the title.
NODES = """() => {
    const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect(), BADGE = 20;
    const found = node => document.querySelector(`[data-node-id="${node.id}"]`);
    const shows = badge => (typeof badge === 'function' ? badge() : badge).visible;
    const box = node => {
        const drawn = found(node)?.getBoundingClientRect();
        if (drawn) return [(drawn.left - canvas.left) / scale - offset[0], (drawn.top - canvas.top) / scale - offset[1],
                           drawn.width / scale, drawn.height / scale];
        const [x, y, width, height] = node.boundingRect, badge = node.badges?.some(shows) ? BADGE : 0;
        return [x, y - badge, width, height + badge];
    };
    const covered = node => {
        const title = found(node)?.getBoundingClientRect();
        if (!title) return false;
        const top = document.elementFromPoint(title.left + title.width / 2, title.top + 15 * scale);
        const seen = top?.closest('[data-node-id]');
        return !!seen && seen !== found(node);
    };
    return app.graph.nodes.map(node => ({
        id: Number(node.id), name: node.title, box: box(node).map(side => Math.round(side)), covered: covered(node),
        size: [...node.size], needs: [...node.computeSize()]}));
}"""
# Once its text is in lines as wide as the node, how many pixels of a note's text do not show.
HIDDEN_TEXT = """() => app.graph.nodes.filter(node => node.type === 'Note').map(node => {
    const element = document.querySelector(`[data-node-id="${node.id}"] textarea`) ?? node.widgets[0].element;
    return {name: node.title, hidden: element.clientHeight ? element.scrollHeight - element.clientHeight : 0};
}).filter(({hidden}) => hidden > 1)"""
STILL_MS, TRIES = 250, 40


def settled(page: playwright.Page, script: str = NODES) -> list[Json]:
    """What `script` answers once it answers the same twice: nodes take a few frames to get their sizes."""
    before = None
    for _ in range(TRIES):
        now = page.evaluate(script)
        if now == before:
            return now
        before = now
        page.wait_for_timeout(STILL_MS)
    raise AssertionError(f"the nodes do not come to rest: {before}")


def overlap(a: Box, b: Box) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def overlaps(nodes: list[Json]) -> list[tuple[str, str]]:
    """Pairs of which one covers a part of the other."""
    return [(a["name"], b["name"]) for i, a in enumerate(nodes) for b in nodes[:i] if overlap(a["box"], b["box"])]


def within(box: Box, around: Box) -> bool:
    return all(around[i] <= box[i] and box[i] + box[i + 2] <= around[i] + around[i + 2] for i in (0, 1))


def group_of(node: Json, groups: list[Json]) -> Json | None:
    """The group of a saved graph in which a node of it begins."""
    return next((group for group in groups if within([*node["pos"], 0, 0], group["bounding"])), None)


def outside(graph: Json, nodes: list[Json]) -> list[str]:
    """Nodes that began in a group of the saved graph and do not lie in it any more."""
    boxes = {node["id"]: node["box"] for node in nodes}
    homes = [(node, group_of(node, graph.get("groups", []))) for node in graph["nodes"]]
    return [
        f"{node.get('title') or node['type']} leaves {group['title']}"
        for node, group in homes
        if group and not within(boxes[node["id"]], group["bounding"])
    ]
