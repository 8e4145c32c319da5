"""A workflow with all that the front end fills in when it queues, and what comes of it."""

from __future__ import annotations

from .comfy_host import Json
from .fake_nodes import node, workflow

# Texts of a dynamic prompt. Alternatives are the same, so that every draw gives the same.
TEXTS = {
    "a {red|red} heart": "a red heart",
    "{a|a}{b|b}{{c|c}|{c|c}}": "abc",
    "{|}x{}": "x",
    "{one}": "one",
    "a | b } c": "a | b } c",
    "an {open|open": "an open",
    r"\{a\|b\} {\||\|} \x": r"{a|b} | \x",
    r"{a\|b|a\|b} {c\}|c\}}": "a|b c}",
    "a // b\n{c|c} /* d\ne */ f": "a \nc  f",
    "see http://example.org/{a|b}\nend": "see http:\nend",
    "a /* {b|b}": "a /* b",
    "/*/ a */b": "b",
    "{/|/}/ left": "// left",
    "ä {ö|ö} \U0001f600 //x\u2028y": "ä ö \U0001f600 \u2028y",
    "(red:1.2) [x]": "(red:1.2) [x]",
}
# Texts of a filename_prefix.
PREFIXES = {
    "%MGT Sample.seed%": "7",
    "%Cold.seed%_%Cold.cfg%": "9007199254740991_0.05",  # by title
    "by_%Named.steps%": "by_12",  # by the property
    "%MGTSample.seed%": "7",  # the first by type, where the file leaves the property out
    "%Steps.value%-%Fed.steps%": "33-33",  # a primitive, and what it feeds
    "%Int.value%": "5",
    "x/%Prompt.text%": "x/a {red_red} heart",
    "%Inside.steps%": "21",  # in a subgraph
    "%Odd.text%": "____ a_b_c%_",
    "%width%x%height% %year%": "%width%x%height% %year%",
    "%Nobody.seed% %Cold.nothing% 50%_": "%Nobody.seed% %Cold.nothing% 50%_",
    "%Loud.cfg%%Loud.add_noise%": "%Loud.cfg%%Loud.add_noise%",
    "%Cold.seed.x% %date.x%": "%Cold.seed.x% %date.x%",
    "%%Cold.seed%%": "%9007199254740991%",
    "%Hot.steps%": "12",
    "plain": "plain",
}
FIRST_TEXT, FIRST_PREFIX, INSIDE = 100, 200, 9
TEXT_ENCODER, SUBGRAPH = ("text_encoder", "MGT_TEXT", None), "7c3e4f6a-3f0e-4b8e-9a53-0c4f3f6f2f11"


def graph() -> Json:
    """Every text and every prefix in a node of its own, among the nodes that they name."""
    nodes = [
        sampler(1, 7, 12, 2),
        sampler(2, 9007199254740991, 8, 0.05, title="Cold"),
        sampler(3, 1, 12, 3.5, title="Hot", properties={"Node name for S&R": "Named"}),
        sampler(4, 1, 2, 1, [("steps", "INT", 1, "steps")], title="Fed"),
        node(5, "PrimitiveNode", [33, "fixed"], outputs=("INT",), title="Steps"),
        node(6, "PrimitiveInt", [5, "fixed"], outputs=("INT",)),
        encoder(7, "a {red|red} heart", title="Prompt"),
        encoder(8, '/?<> a"b|c%\t', title="Odd"),
        node(INSIDE, SUBGRAPH, ["{seen|seen}"], [("text", "STRING", None, "text")], ("CONDITIONING",)),
        node(10, "PrimitiveNode", ["{p|p} %Cold.steps%"], outputs=("STRING",), properties=REPLACING),
        encoder(11, "unseen", link=2),
        node(12, "PrimitiveStringMultiline", ["{a|a} // b"], outputs=("STRING",)),
        encoder(13, "unseen", link=3),
    ]
    nodes += [encoder(FIRST_TEXT + place, text) for place, text in enumerate(TEXTS)]
    nodes += [saver(FIRST_PREFIX + place, prefix) for place, prefix in enumerate(PREFIXES)]
    links = [(1, 5, 0, 4, 0, "INT"), (2, 10, 0, 11, 1, "STRING"), (3, 12, 0, 13, 1, "STRING")]
    for end, (number, origin, *_) in zip((5, 10, 12), links, strict=True):
        assert end == origin
        next(one for one in nodes if one["id"] == origin)["outputs"][0]["links"] = [number]
    return placed(workflow(nodes, links, definitions={"subgraphs": [subgraph()]}, extra={}))


REPLACING = {"Run widget replace on values": True}


def expected() -> dict[str, str]:
    """What comes of each text, by the id of its node in the prompt."""
    texts = dict(enumerate(TEXTS.values(), FIRST_TEXT)) | dict(enumerate(PREFIXES.values(), FIRST_PREFIX))
    inside = {f"{INSIDE}:301": "{seen|seen}", f"{INSIDE}:302": "in", f"{INSIDE}:304": "9007199254740991"}
    return {str(key): text for key, text in texts.items()} | {"11": "p 8"} | inside


def sampler(number: int, seed: int, steps: int, cfg: float, inputs=(), **more) -> Json:
    return node(number, "MGTSample", [seed, "fixed", steps, cfg], inputs, ("MGT_TOKENS",), **more)


def encoder(number: int, text: str, link: int | None = None, **more) -> Json:
    inputs = [TEXT_ENCODER, ("text", "STRING", link, "text")]
    return node(number, "MGTTextEncode", [text], inputs, ("CONDITIONING",), **more)


def saver(number: int, prefix: str) -> Json:
    return node(number, "SaveImage", [prefix], [("images", "IMAGE", None)])


def subgraph() -> Json:
    """With a text that stands on its face, another, a sampler and a Save Image that names a node outside."""
    nodes = [
        encoder(301, "hidden", link=1),
        encoder(302, "{in|in}"),
        sampler(303, 2, 21, 1, title="Inside"),
        saver(304, "%Cold.seed%"),
    ]
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 301, "target_slot": 1, "type": "STRING"},
        {"id": 2, "origin_id": 302, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "CONDITIONING"},
    ]
    nodes[1]["outputs"][0]["links"] = [2]
    slots = {"inputs": ("text", "STRING", 1), "outputs": ("conditioning", "CONDITIONING", 2)}
    return placed(
        {
            "id": SUBGRAPH,
            "version": 1,
            "revision": 0,
            "state": {"lastGroupId": 0, "lastNodeId": 304, "lastLinkId": 2, "lastRerouteId": 0},
            "config": {},
            "name": "Prompts",
            "inputNode": {"id": -10, "bounding": [-200, 0, 120, 60]},
            "outputNode": {"id": -20, "bounding": [900, 0, 120, 60]},
            "widgets": [],
            "groups": [],
            "nodes": nodes,
            "links": links,
            "extra": {},
            **{
                side: [
                    {"id": f"5b0c1d9e-0000-4000-8000-00000000000{link}", "name": name, "type": kind, "linkIds": [link]}
                ]
                for side, (name, kind, link) in slots.items()
            },
        }
    )


def placed(graph: Json) -> Json:
    """As the front end writes nodes, which it does not open without a place."""
    for place, one in enumerate(graph["nodes"]):
        one |= {"pos": [place % 6 * 400, place // 6 * 250], "size": [300, 200], "flags": {}, "order": place}
        one.setdefault("properties", {})
    return graph
