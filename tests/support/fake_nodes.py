"""Node classes and workflow builders for the tests of the runner; nothing here needs a model."""

import torch

from runner.images import Folders
from runner.local import Library, files_nodes


def fake_nodes(calls: list) -> dict[str, type]:
    """Classes that note in `calls` what ran: a maker, a changer, an end, pictures and sounds."""

    class Make:
        RETURN_TYPES = ("THING", "INT")
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {
                "required": {
                    "amount": ("INT", {"default": 1, "min": 0, "max": 10}),
                    "ratio": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0}),
                    "colour": (["red", "green"],),
                    "text": ("STRING", {"default": ""}),
                    "flag": ("BOOLEAN", {"default": True}),
                }
            }

        def run(self, **inputs):
            calls.append(("Make", inputs))
            return inputs["text"], inputs["amount"]

    class Change:
        RETURN_TYPES = ("THING",)
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {
                "required": {
                    "thing": ("THING",),
                    "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1}),
                    "steps": ("INT", {"default": 4, "min": 1, "max": 99}),
                },
                "optional": {"other": ("THING",), "forced": ("INT", {"forceInput": True})},
                "hidden": {"node_id": "UNIQUE_ID"},
            }

        def run(self, thing, seed, steps, other=None, forced=None, node_id=None):
            calls.append(("Change", {"thing": thing, "seed": seed, "steps": steps, "id": node_id}))
            if thing == "explode":
                raise ValueError("the fuse was lit")
            return (f"{thing}+{seed}",)

    class Show:
        RETURN_TYPES = ()
        FUNCTION = "run"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"thing": ("THING",)}, "optional": {"other": ("THING",)}}

        def run(self, thing, other=None):
            calls.append(("Show", thing))
            return {}

    class Picture:
        RETURN_TYPES = ("IMAGE",)
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"batch": ("INT", {"default": 1, "min": 1, "max": 4})}}

        def run(self, batch):
            return (torch.linspace(0, 1, 8 * 6 * 3).reshape(1, 8, 6, 3).repeat(batch, 1, 1, 1),)

    class Tone:
        RETURN_TYPES = ("AUDIO",)
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"batch": ("INT", {"default": 1, "min": 1, "max": 4})}}

        def run(self, batch):
            return ({"waveform": torch.linspace(-1, 1, 640).expand(batch, 1, -1), "sample_rate": 16000},)

    class Checked:
        RETURN_TYPES = ()
        FUNCTION = "run"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"even": ("INT", {"default": 0, "min": 0, "max": 4})}}

        @classmethod
        def VALIDATE_INPUTS(cls, even):
            return True if even % 2 == 0 else f"{even} is odd"

        def run(self, even):
            calls.append(("Checked", even))
            return {}

    class Listed:
        RETURN_TYPES = ("THING",)
        OUTPUT_IS_LIST = (True,)
        FUNCTION = "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

        def run(self):
            return (["a", "b", "c"],)

    return {cls.__name__: cls for cls in (Make, Change, Show, Picture, Tone, Checked, Listed)}


def fake_library(calls: list, folders: Folders | None = None) -> Library:
    classes = fake_nodes(calls)
    names = {"Make": "Make a Thing"}
    if folders is not None:
        stand_ins, shown = files_nodes(folders)
        classes, names = {**stand_ins, **classes}, {**shown, **names}
    return Library(classes, names)


def node(number, kind, widgets=(), inputs=(), outputs=(), **more):
    """A node in UI format; inputs are (name, type, link or None), with a widget name as a fourth where it has one."""
    entries = []
    for name, socket, link, *widget in inputs:
        entries.append(
            {"name": name, "type": socket, "link": link} | ({"widget": {"name": widget[0]}} if widget else {})
        )
    ends = [{"name": socket, "type": socket, "links": []} for socket in outputs]
    return {
        "id": number,
        "type": kind,
        "mode": 0,
        "inputs": entries,
        "outputs": ends,
        "widgets_values": widgets or [],
        **more,
    }


def make(number, **more):
    widgets = more.pop("widgets", [3, 0.25, "green", "cat", False])
    return node(number, "Make", widgets, outputs=("THING", "INT"), **more)


def change(number, thing, **more):
    widgets = more.pop("widgets", [7, "randomize", 12])
    inputs = [("thing", "THING", thing), *more.pop("inputs", ())]
    return node(number, "Change", widgets, inputs, ("THING",), **more)


def show(number, thing, **more):
    return node(number, "Show", [], [("thing", "THING", thing), *more.pop("inputs", ())], **more)


def workflow(nodes, links=(), **more):
    return {"version": 0.4, "nodes": list(nodes), "links": [list(link) for link in links], **more}


def chain(middle, **more):
    """Make (1) -> whatever lies in the middle (2) -> Show (3)."""
    return workflow([make(1), middle, show(3, 2)], [(1, 1, 0, 2, 0, "THING"), (2, 2, 0, 3, 0, "THING")], **more)
