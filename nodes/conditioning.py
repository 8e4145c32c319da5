"""Nodes that make or change CONDITIONING, and its translation into the library's Condition.

CONDITIONING is ComfyUI's list of [hidden, {"pooled_output": pooled, ...}]; ours adds "mgt_micro" and "mgt_prompts". A
class label travels as hidden [B, 1, 1] = label + 1, told by "mgt_labels" beside it: zeroed out, it stands for no class.
Rows of zeros, which stand behind shorter prompts of a batch, are no words where "mgt_alone" stands beside hidden.
A prompt of ids travels as hidden [B, L, 1] = id + 1, told by "mgt_ids": zeroed out, it is that of "mgt_no_prompt".
"""

from typing import NamedTuple

import torch

from ..mgt_core.conditioning import imagenet
from ..mgt_core.conditioning.parts import ConditionInput, Conditions
from ..mgt_core.conditioning.t5 import visible_rows
from ..mgt_core.errors import MGTError, finite_number, join_some
from ..mgt_core.model import LONGEST_SIDE
from ..mgt_core.plain import lines_of
from ..mgt_core.types import DEFAULT_AESTHETIC_SCORE, MOST_IMAGES, UNCONDITIONAL, Condition, micro_conditions
from . import host
from .conditioning_regions import is_everywhere, part_from
from .inputs import called, judged
from .reported import reported
from .types import (
    CONDITIONING,
    INT,
    MGT_TEXT,
    advanced,
    combo,
    conditioning_input,
    integer,
    node,
    number,
    socket,
    switch,
    text_input,
)

MICRO = "mgt_micro"
LABELS = "mgt_labels"
IDS, NO_PROMPT = "mgt_ids", "mgt_no_prompt"
ALONE = "mgt_alone"
PROMPTS = "mgt_prompts"  # the texts that were encoded, for nodes that look for words in them

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
        for name, value in self._asdict().items():
            finite_number(f"{name} of the micro-conditions", value, 0, LONGEST_SIDE)
        size = (self.height or size[0], self.width or size[1])
        return micro_conditions(size, (self.crop_top, self.crop_left), self.aesthetic_score)


def condition_from(conditioning: list, role: str, size: tuple[int, int], unit: int) -> ConditionInput:
    """CONDITIONING as the library takes it: one condition, or several, each with its place, weight and time.

    role: "positive" or "negative", for messages. size: (height, width) of the image in pixels; unit: pixels
    a token. Raises MGTError for what has no meaning for these models; widths are checked by the model.
    """
    if not isinstance(conditioning, list) or not conditioning:
        raise MGTError(f"the {role} conditioning is empty; expected the output of MGT Text Encode or Class Label")
    entries = [(entry_from(hidden, extra, role, size), extra) for hidden, extra in conditioning]
    if len(entries) == 1 and is_everywhere(entries[0][1]):
        return entries[0][0]
    return Conditions(tuple(part_from(condition, extra, role, size, unit) for condition, extra in entries))


def entry_from(hidden: torch.Tensor, extra: dict, role: str, size: tuple[int, int]) -> Condition:
    """One entry of CONDITIONING, whatever its place and time."""
    if not isinstance(hidden, torch.Tensor) or hidden.ndim != 3:
        held = f"values of shape {list(hidden.shape)}" if isinstance(hidden, torch.Tensor) else called(hidden)
        raise MGTError(f"the {role} conditioning holds {held}; expected the encoded text of MGT Text Encode")
    unsupported = [key for key in UNSUPPORTED if extra.get(key) is not None]
    if unsupported:
        raise MGTError(f"the {role} conditioning carries {join_some(unsupported)}, which MGT Sample cannot follow")
    micro = extra.get(MICRO)
    if micro is not None and not isinstance(micro, MicroConditions):
        raise MGTError(
            f"the {role} conditioning has micro-conditions that are {called(micro)}; MGT Micro Conditions sets them"
        )
    if IDS in extra:
        return Condition(prompt=prompt_from(hidden, extra, role))
    visible = visible_rows(hidden) if extra.get(ALONE) else None  # of whatever the host's nodes made of it
    text = {"hidden": hidden, "pooled": extra.get("pooled_output"), "visible": visible}
    return Condition(
        **(text if LABELS not in extra else {"labels": labels_from(hidden, extra[LABELS], role)}),
        micro=None if micro is None else micro.tensor(size).expand(hidden.shape[0], -1),
    )


def labels_from(hidden: torch.Tensor, labels: torch.Tensor, role: str) -> torch.Tensor:
    """[B] long. hidden: what the host's nodes made of labels + 1; raises MGTError where that is no label any more."""
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.long or not hidden.isfinite().all():
        raise MGTError(f"the {role} conditioning has classes that are none; MGT Class Label sets them")
    held = hidden.flatten().round().long().to(labels.device) - 1
    if held.shape != labels.shape or not bool(((held == labels) | (held == UNCONDITIONAL)).all()):
        raise MGTError(f"the {role} conditioning mixes classes, which have nothing between them")
    return held


def prompt_from(hidden: torch.Tensor, extra: dict, role: str) -> torch.Tensor:
    """[B, L] long. hidden: what the host's nodes made of ids + 1; raises MGTError where that is no prompt any more."""
    ids, none = extra[IDS], extra.get(NO_PROMPT)
    for held in (ids, none):
        if not isinstance(held, torch.Tensor) or held.dtype != torch.long or held.ndim != 2:
            raise MGTError(f"the {role} conditioning has a prompt that is none; MGT Text Encode makes them")
    if not hidden.any():
        return none
    if hidden.shape != (*ids.shape, 1) or not torch.equal(hidden[..., 0].cpu().double(), ids.cpu().double() + 1):
        raise MGTError(f"the {role} conditioning mixes or joins prompts of a language model, which reads one as it is")
    return ids


@node("MGT Text Encode")
class MGTTextEncode:
    DESCRIPTION = "Encodes a prompt with the text encoder of a masked generative transformer."
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["prompt", "clip text encode", "text"]
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
                "text_encoder": socket(MGT_TEXT, "The text encoder, from MGT Load Model."),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def encode(self, text: str, text_encoder, unique_id=None):
        return (encode_text([text], text_encoder, unique_id),)


def encode_text(prompts: list[str], text_encoder, node_id: str | None = None) -> list:
    """CONDITIONING of a batch of prompts. Raises MGTError when there is no text encoder."""
    if text_encoder is None:
        raise MGTError(
            "no text encoder was loaded: a model of classes has none (use MGT Class Label), and text_encoder 'none' of "
            "MGT Load Model leaves it to MGT Load Text Encoder"
        )
    if notes := [note for prompt in prompts if (note := text_encoder.length_note(prompt, weights=True))]:
        host.show_text("\n".join(notes), node_id)
    encoded = text_encoder.encode(prompts, weights=True, chunks=True).to(host.intermediate_device(), torch.float32)
    if encoded.prompt is not None:
        return [ids_entry(encoded.prompt, text_encoder, {PROMPTS: tuple(prompts)})]
    extra = {ALONE: True} if encoded.visible is not None else {}
    return [[encoded.hidden, {"pooled_output": encoded.pooled, PROMPTS: tuple(prompts), **extra}]]


def ids_entry(ids: torch.Tensor, text_encoder, extra: dict) -> list:
    """An entry of CONDITIONING for a prompt of ids [B, L], and for no prompt in its place."""
    hidden = (ids[..., None] + 1).to(host.intermediate_device(), torch.float32)
    return [hidden, {"pooled_output": None, IDS: ids, NO_PROMPT: text_encoder.encode("").prompt, **extra}]


def check_count(name: str, count: int) -> None:
    """Raises MGTError for more lines than there are images in a batch."""
    if count > MOST_IMAGES:
        raise MGTError(f"{name} holds {count} lines; {MOST_IMAGES} are accepted, one for each image of a batch")


def prompt_lines(prompts: str) -> list[str]:
    """The prompts of a text, one a line. Raises MGTError where there is none, or too many for a batch."""
    lines = [line for line in map(str.strip, lines_of(prompts)) if line]
    if not lines:
        raise MGTError("prompts holds no text; expected one prompt a line")
    check_count("prompts", len(lines))
    return lines


@node("MGT Prompt Batch")
class MGTPromptBatch:
    DESCRIPTION = "Encodes several prompts, one a line: each is one image of the batch."
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["prompt list", "several prompts", "multiple prompts", "batch prompt", "text"]
    RETURN_TYPES = (CONDITIONING, INT)
    RETURN_NAMES = ("conditioning", "count")
    OUTPUT_TOOLTIPS = (
        "The encoded prompts, for the positive or negative input of MGT Sample.",
        "How many prompts there are, for the batch size of MGT Empty Tokens.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "prompts": text_input("What the images should show, one prompt a line; empty lines are left out."),
                "text_encoder": socket(MGT_TEXT, "The text encoder, from MGT Load Model."),
            },
            "optional": {
                "alone": advanced(
                    switch(
                        "For T5, which models of sound read. On: no prompt depends on those beside it. Off: shorter "
                        "ones are filled up to the longest, as MAGNeT was published, which changes them a little. "
                        "Prompts of other encoders never depend on one another."
                    )
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, prompts=None):
        return judged(prompt_lines, prompts)

    def encode(self, prompts: str, text_encoder, alone: bool = False, unique_id=None):
        lines = prompt_lines(prompts)
        encoder = text_encoder and text_encoder.with_alone(bool(alone))
        return encode_text(lines, encoder, unique_id), len(lines)


def classes(more_labels: str) -> list[int]:
    """Those that the lines of a text name. Raises MGTError for a line that names none, and for too many beside one."""
    lines = [line for line in map(str.strip, lines_of(more_labels)) if line]
    check_count("labels", 1 + len(lines))
    return [imagenet.find_class(line) for line in lines]


@node("MGT Class Label")
class MGTClassLabel:
    DESCRIPTION = (
        "Asks a model of ImageNet classes (MaskGIT, Halton-MaskGIT) for one of the 1,000 classes, found by name. "
        "Several labels make a batch of different classes."
    )
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["class conditional", "imagenet", "label", "maskgit", "halton"]
    RETURN_TYPES = (CONDITIONING, INT)
    RETURN_NAMES = ("conditioning", "count")
    OUTPUT_TOOLTIPS = (
        "The classes, for MGT Sample. ComfyUI's Conditioning (Zero Out) turns them into no class.",
        "How many labels there are, for the batch size of MGT Empty Tokens.",
    )
    FUNCTION = "encode"
    HAS_INTERMEDIATE_OUTPUT = True  # newer hosts send its report again when it need not run

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "label": combo(
                    imagenet.choices(),
                    "What to draw: type to search the names. 'no class' is for the negative input of models that "
                    "were trained with it, as Halton-MaskGIT was.",
                ),
                "more_labels": text_input(
                    "Further classes, one a line, by name or number; each is one more image of the batch. "
                    "Empty for one class, which then serves every image."
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, more_labels=None):
        return judged(classes, more_labels)

    def encode(self, label: str, more_labels: str):
        labels = torch.tensor([imagenet.find_class(str(label)), *classes(more_labels)])
        names = ["no class", *imagenet.class_names()]
        shown = [names[n + 1] if n + 1 < len(names) else str(n) for n in labels.tolist()]
        lines = [f"{place}. {name}" for place, name in enumerate(shown, 1)] if len(shown) > 1 else shown
        hidden = (labels[:, None, None] + 1).to(host.intermediate_device(), torch.float32)
        conditioning = [[hidden, {"pooled_output": None, LABELS: labels}]]
        return reported("\n".join(lines), conditioning, len(labels))


@node("MGT Micro Conditions")
class MGTMicroConditions:
    DESCRIPTION = (
        "Tells the model what size of picture, crop and quality score to imitate, as Meissonic saw them in training. "
        "Without this node they follow the image to be made, with no crop and score 6."
    )
    CATEGORY = "MGT/conditioning"
    SEARCH_ALIASES = ["aesthetic score", "size conditioning", "crop", "sdxl"]
    RETURN_TYPES = (CONDITIONING,)
    RETURN_NAMES = ("conditioning",)
    OUTPUT_TOOLTIPS = ("The conditioning with these values set; those set before are replaced.",)
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls):
        pixels = "in pixels, of the picture that the model should imitate"

        def crop(where: str):
            return integer(f"Pixels cut off {where}; 0 for a picture that is whole and centred.", 0, 0, 16384)

        return {
            "required": {
                "conditioning": conditioning_input("The encoded prompt."),
                "width": integer(f"Original width {pixels}; 0 for the width of the image.", 0, 0, 16384, 8),
                "height": integer(f"Original height {pixels}; 0 for the height of the image.", 0, 0, 16384, 8),
                "crop_top": advanced(crop("above")),
                "crop_left": advanced(crop("on the left")),
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
