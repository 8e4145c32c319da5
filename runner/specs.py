"""Reading node definitions in the shape of GET /object_info."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .problems import Json

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "MARKDOWN"})
SEED_NAMES = ("seed", "noise_seed")
UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
Spec = list | tuple


def options(spec: Spec) -> Json:
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def choices(spec: Spec) -> list | tuple | None:
    """The values of a combo, None for any other input or for a list that only the server knows. As the node has them:
    what a list of its own holds may be its own to say."""
    if isinstance(spec[0], (list, tuple)):
        return spec[0]
    if spec[0] == "COMBO":
        return options(spec).get("options")
    return None


def kind(spec: Spec) -> str:
    return "COMBO" if isinstance(spec[0], (list, tuple)) else str(spec[0])


def is_widget(spec: Spec) -> bool:
    return kind(spec) in WIDGET_TYPES and not options(spec).get("forceInput")


def is_raw(spec: Spec) -> bool:
    """Whether the node is handed the link itself, and nothing that it leads to has to run before."""
    return bool(options(spec).get("rawLink"))


def is_dynamic(spec: Spec) -> bool:
    """Whether the front end resolves {a|b} and comments in the text of a widget."""
    return kind(spec) == "STRING" and options(spec).get("dynamicPrompts") is True


def inputs(info: Json) -> dict[str, Spec]:
    """Required inputs, then optional ones, in the order that the node declares."""
    declared, order = info.get("input", {}), info.get("input_order", {})
    found: dict[str, Spec] = {}
    for group in ("required", "optional"):
        specs = declared.get(group) or {}
        found.update({name: specs[name] for name in order.get(group) or specs if name in specs})
        found.update({name: spec for name, spec in specs.items() if name not in found})
    return found


def required(info: Json) -> set[str]:
    return set(info.get("input", {}).get("required") or {})


def widget_slots(info: Json) -> Iterator[str | None]:
    """What each place of `widgets_values` belongs to; None is a value that the front end keeps for itself."""
    specs = inputs(info)
    mandatory = required(info)
    button = any(options(specs[name]).get(key) for name in mandatory for key in UPLOADS)
    for name, spec in specs.items():
        if button and name not in mandatory and not info.get("input_order"):
            yield None
            button = False
        if not is_widget(spec):
            continue
        yield name
        control = options(spec).get("control_after_generate")
        if kind(spec) == "INT" and (name in SEED_NAMES if control is None else control):
            yield None
        elif kind(spec) == "COMBO" and control:
            yield from (None, None)
    if button:
        yield None


@dataclass(frozen=True)
class Declared:
    """What a class declares, as all its nodes need it. slots: whose the places of `widgets_values` are."""

    inputs: dict[str, Spec]
    required: set[str]
    slots: list[str | None]
    defaults: Json


class Classes(dict):
    """`Declared` by class, each put together once, since a workflow has many nodes of one class."""

    def __init__(self, object_info: Json) -> None:
        super().__init__()
        self.object_info = object_info

    def __missing__(self, class_type: str) -> Declared:
        info = self.object_info[class_type]
        known = inputs(info)
        defaults = {name: default(spec) for name, spec in known.items() if is_widget(spec)}
        self[class_type] = Declared(known, required(info), list(widget_slots(info)), defaults)
        return self[class_type]


def default(spec: Spec) -> Any:
    """The value of a widget that nobody has touched."""
    if "default" in options(spec):
        return options(spec)["default"]
    if kind(spec) == "COMBO":
        return next(iter(choices(spec) or ()), None)
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}.get(kind(spec))


def coerce(value: Any, spec: Spec) -> Any:
    """The value as the node receives it. Raises ValueError, TypeError or OverflowError."""
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    convert = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(kind(spec))
    if convert is None:
        return value
    if value is None:
        raise TypeError("no value is set")
    value = convert(value)
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("it is not a number")
    return value
