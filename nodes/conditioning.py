"""Nodes that make or change CONDITIONING, and its translation into the library's Condition.

CONDITIONING is ComfyUI's list of [hidden, {"pooled_output": pooled, ...}]; ours adds "mgt_micro".
"""

from typing import NamedTuple

import torch

from ..mgt_core.conditions import Conditions, Given
from ..mgt_core.errors import MGTError, join_some
from ..mgt_core.model import DEFAULT_AESTHETIC_SCORE, micro_conditions
from ..mgt_core.types import Condition
from . import host
from .regions import is_everywhere, part_from
from .types import CONDITIONING, MGT_TEXT, conditioning_input, integer, node, number, socket

MICRO = "mgt_micro"

# What the host's conditioning nodes attach that has no meaning for these models.
UNSUPPORTED = ("control", "gligen", "hooks", "default", "unclip_conditioning", "reference_latents")


class MicroConditions(NamedTuple):
    """What a MGT Micro Conditions node set. Pixels; a width or height of 0 stands for that of the image."""

    width: int
    height: int
    crop_top: int
    crop_left: int
    aesthetic_score: float

    def tensor(self, size: tuple[int, int]) -> torch.Tensor:
        """[1, 5] float. size: (height, width) of the image in pixels."""
        size = (self.height or size[0], self.width or size[1])
        return micro_conditions(size, (self.crop_top, self.crop_left), self.aesthetic_score)


def condition_from(conditioning: list, role: str, size: tuple[int, int], unit: int) -> Given:
    """CONDITIONING as the library takes it: one condition, or several, each with its place, weight and time.

    role: "positive" or "negative", for messages. size: (height, width) of the image in pixels; unit: pixels
    a token. Raises MGTError for what has no meaning for these models; widths are checked by the model.
    """
    if not isinstance(conditioning, list) or not conditioning:
        raise MGTError(f"the {role} conditioning is empty; expected the output of MGT Text Encode")
    entries = [(entry_from(hidden, extra, role, size), extra) for hidden, extra in conditioning]
    if len(entries) == 1 and is_everywhere(entries[0][1]):
        return entries[0][0]
    return Conditions(tuple(part_from(condition, extra, role, size, unit) for condition, extra in entries))


def entry_from(hidden: torch.Tensor, extra: dict, role: str, size: tuple[int, int]) -> Condition:
    """One entry of CONDITIONING, whatever its place and time."""
    if not isinstance(hidden, torch.Tensor) or hidden.ndim != 3:
        held = list(hidden.shape) if isinstance(hidden, torch.Tensor) else type(hidden).__name__
        raise MGTError(f"the {role} conditioning holds {held}; expected text states of shape [batch, length, width]")
    unsupported = [key for key in UNSUPPORTED if extra.get(key) is not None]
    if unsupported:
        raise MGTError(f"the {role} conditioning carries {join_some(unsupported)}, which MGT Sample cannot follow")
    micro = extra.get(MICRO)
    return Condition(
        hidden=hidden,
        pooled=extra.get("pooled_output"),
        micro=None if micro is None else MicroConditions(*micro).tensor(size).expand(hidden.shape[0], -1),
    )


@node("MGT Text Encode")
class MGTTextEncode:
    DESCRIPTION = "Encodes a prompt with the text encoder of a masked generative transformer."
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["prompt", "clip text encode", "text", "meissonic"]
    RETURN_TYPES = (CONDITIONING,)
    RETURN_NAMES = ("conditioning",)
    OUTPUT_TOOLTIPS = ("The encoded prompt, for MGT Sample or ComfyUI's own conditioning nodes.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "text": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "dynamicPrompts": True,
                        "tooltip": "What the image should show; empty for an empty negative prompt.",
                    },
                ),
                "text_encoder": socket(MGT_TEXT, "The text encoder, from Load MGT Model."),
            }
        }

    def encode(self, text: str, text_encoder):
        encoded = text_encoder.encode([text], weights=True, chunks=True).to(host.intermediate_device(), torch.float32)
        return ([[encoded.hidden, {"pooled_output": encoded.pooled}]],)


@node("MGT Micro Conditions")
class MGTMicroConditions:
    DESCRIPTION = (
        "Tells the model what size of picture, crop and quality score to imitate, as Meissonic saw them in training. "
        "Without this node they follow the image to be made, with no crop and score 6."
    )
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["aesthetic score", "size conditioning", "crop", "sdxl", "meissonic"]
    RETURN_TYPES = (CONDITIONING,)
    RETURN_NAMES = ("conditioning",)
    OUTPUT_TOOLTIPS = ("The conditioning with these values set; those set before are replaced.",)
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls):
        pixels = "in pixels, of the picture that the model should imitate"
        return {
            "required": {
                "conditioning": conditioning_input("The encoded prompt."),
                "width": integer(f"Original width {pixels}; 0 for the width of the image.", 0, 0, 16384, 8),
                "height": integer(f"Original height {pixels}; 0 for the height of the image.", 0, 0, 16384, 8),
                "crop_top": integer("Pixels cut off above; 0 for a picture that is whole and centred.", 0, 0, 16384),
                "crop_left": integer(
                    "Pixels cut off on the left; 0 for a picture that is whole and centred.", 0, 0, 16384
                ),
                "aesthetic_score": number(
                    "How well rated the picture should look, from 0 to 10; Meissonic was published with 6.",
                    DEFAULT_AESTHETIC_SCORE,
                    0.0,
                    10.0,
                ),
            }
        }

    def apply(self, conditioning, width: int, height: int, crop_top: int, crop_left: int, aesthetic_score: float):
        micro = MicroConditions(width, height, crop_top, crop_left, aesthetic_score)
        return ([[hidden, {**extra, MICRO: micro}] for hidden, extra in conditioning],)
