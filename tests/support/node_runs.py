"""Nodes called as ComfyUI calls them."""

from .pack import load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS


def run(name: str, **inputs) -> tuple:
    """A node's outputs, unset widgets at their defaults."""
    cls = NODES[name]
    declared = cls.INPUT_TYPES()["required"]
    values = {key: options["default"] for key, (_, options) in declared.items() if "default" in options}
    return getattr(cls(), cls.FUNCTION)(**{**values, **inputs})
