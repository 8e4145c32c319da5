"""The node of prompts that hold pictures, for models that edit by what they read."""

from .. import mgt_core
from ..mgt_core.backbones.language.dimoo import TASKS
from ..mgt_core.conditioning.picture_prompts import LARGEST, LARGEST_GUIDANCE
from ..mgt_core.conditioning.prompt_ids import PromptEncoder
from ..mgt_core.errors import MGTError
from ..mgt_core.types import PICTURES
from . import host
from .conditioning import ids_entry
from .types import (
    CONDITIONING,
    FLOAT,
    IMAGE,
    INT,
    MGT_CODEC,
    MGT_TEXT,
    advanced,
    combo,
    image_input,
    integer,
    node,
    number,
    socket,
)

WRITTEN = [name for name, task in TASKS.items() if task.takes_text]


@node("MGT Edit Prompt")
class MGTEditPrompt:
    FOR = PICTURES
    DESCRIPTION = (
        "A prompt that holds a picture beside its words: Lumina-DiMOO edits it, draws what its map or object shows, "
        "turns it into a map, or gives it the style of a second one."
    )
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["edit", "instruction", "image to image", "control", "style transfer", "subject", "canny", "depth"]
    RETURN_TYPES = (CONDITIONING, CONDITIONING, FLOAT, INT, INT)
    RETURN_NAMES = ("positive", "negative", "cfg", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The picture and the instruction, for MGT Sample.",
        "What both guidances push away from, for MGT Sample: the picture without words, and the words without it.",
        "The guidance that goes with both, for the cfg of MGT Sample.",
        "Width in pixels of the picture as the model sees it, for MGT Empty Tokens.",
        "Height in pixels of the picture as the model sees it, for MGT Empty Tokens.",
    )
    FUNCTION = "encode"
    SHOWN_FOR = {"instruction": {"task": WRITTEN}}

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "text_encoder": socket(MGT_TEXT, "The text encoder of Lumina-DiMOO, from MGT Load Model."),
                "codec": socket(MGT_CODEC, "The codec that turns pictures into tokens, from MGT Load Model."),
                "image": image_input("The picture to be changed, or that shows what to draw."),
                "task": combo(
                    list(TASKS),
                    "What to make of the picture: edit it by an instruction (add, remove, replace, background, text); "
                    "control, draw a prompt along a map of edges, depth or poses; subject, draw its object elsewhere; "
                    "style, that of the second picture; view, its object from another side; a map of it (canny, hed, "
                    "normal, sam2mask, depth, openpose); free, the words as they stand.",
                ),
                "instruction": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "dynamicPrompts": True,
                        "tooltip": "What to change, or what the new picture shows; for view the side, such as left.",
                    },
                ),
                "text_guidance": number(
                    "How strongly the words are followed: 2.5 as published.", 2.5, 0.0, LARGEST_GUIDANCE
                ),
                "picture_guidance": number(
                    "How strongly the picture is followed: 4 as published.", 4.0, 0.0, LARGEST_GUIDANCE
                ),
                "resolution": advanced(
                    integer(
                        "The picture is cropped to the trained size of about so many pixels squared that is nearest to "
                        "its shape: 512 as published; 0 leaves it as it is, with sides that are multiples of 16.",
                        512,
                        0,
                        LARGEST,
                        32,
                    )
                ),
            },
            "optional": {"second_image": (IMAGE, {"tooltip": "The picture whose style is taken, for the task style."})},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def encode(
        self,
        text_encoder,
        codec,
        image,
        task: str,
        instruction: str,
        text_guidance: float,
        picture_guidance: float,
        resolution: int,
        second_image=None,
        unique_id=None,
    ):
        if text_encoder is None:
            raise MGTError("no text encoder was loaded; choose 'from the bundle' as text_encoder of MGT Load Model")
        if isinstance(text_encoder, PromptEncoder) and (note := text_encoder.length_note(instruction, weights=True)):
            host.show_text(note, unique_id)
        made = mgt_core.picture_prompts(
            text_encoder,
            codec,
            image,
            instruction,
            task,
            second_image,
            text_guidance,
            picture_guidance,
            resolution,
        )
        height, width = made.size
        positive = [ids_entry(made.positive.prompt, text_encoder, {})]
        negative = [
            ids_entry(part.condition.prompt, text_encoder, {"strength": part.weight}) for part in made.negative.parts
        ]
        return positive, negative, made.cfg, width, height
