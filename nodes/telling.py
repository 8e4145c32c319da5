"""What is attached to a model, in the words that its nodes have for it."""

import re
from dataclasses import fields
from typing import Any

from .. import mgt_core
from ..mgt_core.adapters.attach import AttachedLoRA
from ..mgt_core.quantization.schemes import Scheme
from ..mgt_core.recommended import recommended, told
from ..mgt_core.settings import in_words
from .types import INTERVAL, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

WHOLE_RUN = (0.0, 1.0)


def description(model: mgt_core.MGTModel) -> str:
    """Of a model: what it recommends and what acts on it, a line each."""
    lines = [f"{place}. {line_of(part)}" for place, part in enumerate(model.parts(), 1)]
    first = "Attached, in the order in which it acts:" if lines else "Nothing is attached."
    return "\n".join([f"Recommended: {told(recommended(model))}.", first, *lines])


def line_of(part: Any) -> str:
    """A part by the name of its node, and its settings."""
    if isinstance(part, Scheme):
        return f"Weights of {part.in_words()}"
    if isinstance(part, AttachedLoRA):
        return f"LoRA {part.name}, strength {part.strength:g}, in {part.layers} layers"
    name = next((name for name, cls in NODE_CLASS_MAPPINGS.items() if getattr(cls, "part", None) is type(part)), None)
    if name is None:  # of a script, or without a node
        return with_settings(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(part).__name__), in_words(part))
    node = NODE_CLASS_MAPPINGS[name]
    common = set(node.tooltips) - set(node.rare)
    shown = {
        f.name for f in fields(part) if f.init and f.repr and (f.name in common or getattr(part, f.name) != f.default)
    }
    settings = in_words(part, shown - set(INTERVAL))
    return with_settings(NODE_DISPLAY_NAME_MAPPINGS[name], ", ".join(filter(None, (settings, interval_of(part)))))


def with_settings(title: str, settings: str) -> str:
    return f"{title}: {settings}" if settings else title


def interval_of(part: Any) -> str:
    """Where in the run it acts, unless that is all of it."""
    ends = tuple(getattr(part, name, whole) for name, whole in zip(INTERVAL, WHOLE_RUN, strict=True))
    return "" if ends == WHOLE_RUN else f"from {100 * ends[0]:g} % to {100 * ends[1]:g} % of the run"
