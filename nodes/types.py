"""What nodes share: the decorator that registers one, socket names, and widgets declared once.

A declaration is what ComfyUI expects in INPUT_TYPES: (type, options). Every one takes its tooltip.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from .. import mgt_core
from ..mgt_core.interval import check_interval
from ..mgt_core.presets import built_in_settings
from ..mgt_core.samplers.temperature import RECOMMENDED
from ..mgt_core.settings import Choices, Numbers, WholeNumbers, setting
from .inputs import judged, looks_at_inputs
from .interrupts import ends_when_interrupted
from .shown import shows_by_choice

MGT_MODEL = "MGT_MODEL"
MGT_TEXT = "MGT_TEXT"
MGT_CODEC = "MGT_CODEC"
MGT_TOKENS = "MGT_TOKENS"
MGT_SCHEDULE = "MGT_SCHEDULE"
MGT_SAMPLER = "MGT_SAMPLER"
MGT_BRANCH = "MGT_BRANCH"
MGT_REWARD = "MGT_REWARD"
CONDITIONING = "CONDITIONING"
IMAGE = "IMAGE"
AUDIO = "AUDIO"
MASK = "MASK"
INT = "INT"
FLOAT = "FLOAT"
STRING = "STRING"

SIDE_UNIT, LONGEST_SIDE = 16, 8192  # pixels: all published models take multiples of the one, up to the other
SUGGESTED = built_in_settings()  # where widgets start

Declaration = tuple[str | list[str], dict]

NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}


def node(display_name: str) -> Callable[[type], type]:
    """Decorator that registers a class as a node; its id, kept for good in workflows, is the class name."""

    def add(cls: type) -> type:
        if cls.__name__ in NODE_CLASS_MAPPINGS:
            raise ValueError(f"node {cls.__name__} is registered twice")
        shows_by_choice(cls)
        looks_at_inputs(cls, display_name)
        ends_when_interrupted(cls)
        NODE_CLASS_MAPPINGS[cls.__name__] = cls
        NODE_DISPLAY_NAME_MAPPINGS[cls.__name__] = display_name
        return cls

    return add


def socket(kind: str, tooltip: str) -> Declaration:
    """An input that is wired, never typed in."""
    return kind, {"forceInput": True, "tooltip": tooltip}


def combo(choices: Sequence[str], tooltip: str, default: str | None = None) -> Declaration:
    choices = list(choices)
    return choices, {"default": choices[0] if default is None else default, "tooltip": tooltip}


def integer(tooltip: str, default: int, low: int, high: int, step: int = 1) -> Declaration:
    return INT, {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip}


def number(tooltip: str, default: float, low: float, high: float, step: float = 0.1) -> Declaration:
    return FLOAT, {"default": default, "min": low, "max": high, "step": step, "round": 0.001, "tooltip": tooltip}


def switch(tooltip: str, default: bool = False) -> Declaration:
    return "BOOLEAN", {"default": default, "tooltip": tooltip}


def text_input(tooltip: str, default: str = "") -> Declaration:
    """Several lines of text that is taken as it stands."""
    return STRING, {"default": default, "multiline": True, "dynamicPrompts": False, "tooltip": tooltip}


def advanced(declaration: Declaration) -> Declaration:
    """An input that few people need: front ends fold it away, below "Show advanced inputs" or in the node's menu."""
    kind, options = declaration
    return kind, {**options, "advanced": True}


def folded(widgets: Mapping[str, Declaration], rare: Collection[str]) -> dict[str, Declaration]:
    """The same, those of these names as `advanced` ones."""
    return {name: advanced(widget) if name in rare else widget for name, widget in widgets.items()}


def image_input(tooltip: str) -> Declaration:
    return IMAGE, {"tooltip": tooltip}


def audio_input(tooltip: str) -> Declaration:
    return AUDIO, {"tooltip": tooltip}


def chosen(value: float, automatic: float) -> float | None:
    """What a widget says; None where it leaves the choice to the model."""
    return None if value == automatic else value


def setting_input(part: type, name: str, tooltip: str) -> Declaration:
    """The widget of a part's setting, whose default and range are those that the part declares."""
    default, allowed = setting(part, name)
    if isinstance(allowed, Choices):
        return combo(allowed.values, tooltip, default)
    if isinstance(allowed, WholeNumbers):
        return integer(tooltip, default, allowed.low, allowed.high, allowed.step)
    if isinstance(allowed, Numbers):
        return number(tooltip, float(default), float(allowed.low), float(allowed.high), allowed.step)
    if not isinstance(default, bool):
        raise TypeError(f"{part.__name__} does not declare what its setting {name} may be")
    return switch(tooltip, default)


def setting_inputs(part: type, tooltips: Mapping[str, str], rare: Collection[str] = ()) -> dict[str, Declaration]:
    """Widgets of the settings that have a tooltip, in the order of these. rare: those that are folded away."""
    return folded({name: setting_input(part, name, tooltip) for name, tooltip in tooltips.items()}, rare)


INTERVAL = ("start", "end")


class Timed:
    """A node of a part that may act in an interval of the run only."""

    part: ClassVar[type]

    @classmethod
    def VALIDATE_INPUTS(cls, start=None, end=None):
        """Before anything runs, that it ends where it does not start later; where there is no interval, nothing."""
        return judged(lambda *ends: check_interval(cls.part.interval_of, *ends), start, end)


class PartChoice(Timed):
    """A node that makes one part. part: it. tooltips: of its settings that are widgets, in their order. rare: those
    that are folded away. later: those that came after a release, which prompts saved before it lack."""

    FUNCTION = "make"

    tooltips: ClassVar[Mapping[str, str]] = {}
    rare: ClassVar[Collection[str]] = INTERVAL
    later: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls):
        widgets = setting_inputs(cls.part, cls.tooltips, cls.rare)
        added = {name: widgets.pop(name) for name in cls.later}
        return {"required": widgets, **({"optional": added} if added else {})}

    def make(self, **settings):
        return (self.part(**settings),)


def interval(what: str) -> dict[str, str]:
    """Tooltips of the part of the run in which something acts. what: its name."""
    return {
        "start": f"Share of the run at which {what} begins: of T steps counted from 0, those act whose number k has "
        "start ≤ k / T < end.",
        "end": f"Share of the run at which {what} ends; 1 for the last step, the same as start for no step at all.",
    }


def quantization_input(tooltip: str, *others: str) -> Declaration:
    """A registered scheme; `others` are offered before them."""
    choices = " w4a8: 4-bit weights, a third of the layers with 8-bit activations (SCQ); w4a16: 4-bit weights; "
    choices += "w8a8, w8a16: 8 bits; fp8: 8-bit floating point; w8a8_fp8: the activations too."
    return combo([*others, *mgt_core.list_quantizations()], tooltip + choices)


def model_input() -> Declaration:
    return socket(
        MGT_MODEL, "The masked generative transformer, from MGT Load Model, with whatever was attached to it."
    )


def tokens_input(tooltip: str) -> Declaration:
    return socket(MGT_TOKENS, tooltip)


def conditioning_input(tooltip: str) -> Declaration:
    return CONDITIONING, {"tooltip": tooltip}


def side_input(which: str) -> Declaration:
    return integer(
        f"{which} of the image in pixels. The model decides which multiples fit and what it was trained at: "
        "128 for the built-in one, 512 or 1024 for the big ones.",
        default=128,
        low=SIDE_UNIT,
        high=LONGEST_SIDE,
        step=SIDE_UNIT,
    )


def tile_input(does: str) -> Declaration:
    return integer(
        f"The codec {does} in strips, each of as many pixels as a square of this side: less memory for large pictures, "
        "slower, and the same but for rounding. 0 for the whole at once.",
        default=0,
        low=0,
        high=LONGEST_SIDE,
        step=64,
    )


def batch_input() -> Declaration:
    return integer(
        "How many images to make at once. Image i of a batch is the image that seed + i gives alone.", 1, 1, 4096
    )


def seed_input() -> Declaration:
    kind, options = integer(
        "Where the random draws start: the same seed gives the same result.", 0, 0, 0xFFFFFFFFFFFFFFFF
    )
    return kind, {**options, "control_after_generate": True}


def steps_input() -> Declaration:
    return integer(
        "Number of steps in which the masked tokens are filled; more is slower and, up to a point, better. "
        "0: as the model recommends (24 for the built-in one, 64 for Meissonic); MGT Describe Model lists it. "
        "Those of sound are divided among its code books.",
        default=0,
        low=0,
        high=1000,
    )


def cfg_input() -> Declaration:
    return number(
        "Classifier-free guidance: how strongly the prompt is followed against the negative prompt. "
        "1 uses the prompt alone and halves the work. -1: as the model recommends (2 for the built-in one, 9 for "
        "Meissonic).",
        default=-1.0,
        low=-1.0,
        high=100.0,
    )


def temperature_input(when: str) -> Declaration:
    return number(
        f"Randomness at the {when} of the run in choosing which tokens to keep: "
        "0 keeps the surest ones, more makes the choice freer. -1: as the model recommends.",
        default=-1.0,
        low=-1.0,
        high=100.0,
    )


def temperature_inputs(shapes: Sequence[str]) -> dict[str, Declaration]:
    """The three widgets of a temperature that changes over the run."""
    return {
        "temperature_start": temperature_input("start"),
        "temperature_end": temperature_input("end"),
        "temperature_shape": combo(
            [RECOMMENDED, *shapes],
            "How the temperature goes from start to end: recommended, as the model's authors have it; linear, as "
            "Meissonic's have it; cosine, slow at both ends; "
            "early, most of the change in the first steps; late, most of it in the last; compounding, as released "
            "with Self-Guidance, multiplied at every step and so below the start already at the first.",
        ),
    }
