"""The nodes. Importing a module of this package registers the nodes it defines."""

from . import (
    conditioning,
    decode,
    guidance,
    inspect,
    loaders,
    patches,
    presets,
    quantize,
    samplers,
    schedules,
    speed,
    tokens,
)
from .types import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "conditioning",
    "decode",
    "guidance",
    "inspect",
    "loaders",
    "patches",
    "presets",
    "quantize",
    "samplers",
    "schedules",
    "speed",
    "tokens",
]
