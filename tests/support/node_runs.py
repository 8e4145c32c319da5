"""Nodes called as ComfyUI calls them."""

from .pack import load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS


def inputs(cls) -> dict:
    """What a node declares, required and optional: name -> (type, options)."""
    groups = cls.INPUT_TYPES()
    return {**groups["required"], **groups.get("optional", {})}


def answer(name: str, /, **inputs) -> tuple | dict:
    """What a node answers, unset widgets at their defaults: its outputs, or these and what the host is to show."""
    cls = NODES[name]
    declared = cls.INPUT_TYPES()["required"]
    values = {key: options["default"] for key, (_, options) in declared.items() if "default" in options}
    return getattr(cls(), cls.FUNCTION)(**{**values, **inputs})


def outputs(answered: tuple | dict) -> tuple:
    return answered["result"] if isinstance(answered, dict) else answered


def run(name: str, /, **inputs) -> tuple:
    """A node's outputs, unset widgets at their defaults."""
    return outputs(answer(name, **inputs))


def report(name: str, /, **inputs) -> str:
    """What a node tells at its end."""
    (text,) = answer(name, **inputs)["ui"]["text"]
    return text


def made_by_nodes(kind: str) -> set[type]:
    """The parts of the library that nodes with an output of this kind make or attach."""
    return {cls.part for cls in NODES.values() if hasattr(cls, "part") and kind in cls.RETURN_TYPES}


def graph_of(pipe) -> dict:
    """The inputs of MGT Sample for two small images in three steps."""
    unit = pipe.model.pixels_per_token * pipe.model.grid_multiple
    return {
        "model": pipe.model,
        "positive": run("MGTTextEncode", text="a red heart", text_encoder=pipe.text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=pipe.text)[0],
        "tokens": run("MGTEmptyTokens", model=pipe.model, width=2 * unit, height=unit, batch_size=2)[0],
        "schedule": run("MGTMaskSchedule")[0],
        "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0],
        "steps": 3,
    }
