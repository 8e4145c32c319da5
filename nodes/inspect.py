"""Nodes that show what a run did, and what a choice looks like before it runs."""

import logging
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from .. import mgt_core
from ..mgt_core.errors import MGTError, reason
from ..mgt_core.plain import lines_of
from ..mgt_core.types import SOUND
from ..mgt_core.views import pictures
from . import choices, host
from .preview import animation, enlarged
from .reported import reported
from .telling import description
from .types import (
    IMAGE,
    MGT_CODEC,
    MGT_SCHEDULE,
    STRING,
    image_input,
    integer,
    model_input,
    node,
    number,
    socket,
    text_input,
    tokens_input,
)

log = logging.getLogger(__name__)

LARGEST_PREVIEW = 1024  # pixels, longest side of the animation under the node


@node("MGT Plot Schedule")
class MGTPlotSchedule:
    DESCRIPTION = "Draws mask schedules: the masked fraction over the run, and the tokens revealed at every step."
    CATEGORY = "MGT/inspect"
    SEARCH_ALIASES = ["graph", "curve", "gamma", "chart", "scheduler"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The plot.",)
    FUNCTION = "plot"

    @classmethod
    def INPUT_TYPES(cls):
        more = "One more schedule to draw beside the first."
        return {
            "required": {
                "schedule_1": socket(MGT_SCHEDULE, "The mask schedule to draw."),
                "steps": integer("Number of steps, as in MGT Sample.", 20, 1, 1000),
                "token_count": integer(
                    "Number of tokens in an image: 256 for the built-in model at 128 × 128 pixels, "
                    "1024 for Meissonic at 512 × 512 and 4096 at 1024 × 1024. Of sound, the frames: 500 in 10 s "
                    "of MAGNeT; its own sampler counts spans of 3, of which these are 166.",
                    256,
                    1,
                    1 << 20,
                ),
            },
            "optional": {f"schedule_{place}": socket(MGT_SCHEDULE, more) for place in (2, 3, 4)},
        }

    def plot(self, schedule_1, steps: int, token_count: int, schedule_2=None, schedule_3=None, schedule_4=None):
        from ..mgt_core.views.plots import schedule_label, schedule_plot

        schedules = {}
        for place, schedule in enumerate((schedule_1, schedule_2, schedule_3, schedule_4), 1):
            if schedule is not None:
                label = schedule_label(schedule)
                schedules[f"{label} #{place}" if label in schedules else label] = schedule
        return (schedule_plot(schedules, steps, token_count).to(host.intermediate_device()),)


class TokenMap:
    """What nodes share that draw one value a token. of_pictures: what draws it for pictures; chart: the name of what
    does for sound, in views/sound.py."""

    of_pictures: ClassVar[Callable[..., Tensor]]
    chart: ClassVar[str]

    CATEGORY = "MGT/inspect"
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = (
        "The map of every image of the batch, as large as the decoded images; of sound, a chart of time and code "
        "books.",
    )
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("Tokens from MGT Sample, which records how they came about."),
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model: it knows how large a token is."),
                "opacity": number(
                    "How much of the map covers the image: 0 shows the image alone, 1 the map alone. "
                    "No effect without an image.",
                    0.6,
                    0.0,
                    1.0,
                    0.05,
                ),
            },
            "optional": {
                "image": image_input("The decoded images of the same tokens, to lay the map over; sound has none.")
            },
        }

    def draw(self, tokens, codec, opacity: float, image=None):
        if codec.makes == SOUND:
            return (self.of_sound(tokens, codec, image).to(host.intermediate_device()),)
        return (self.of_pictures(tokens, image, codec.scale, opacity).to(host.intermediate_device()),)

    def of_sound(self, tokens, codec, image) -> Tensor:
        from ..mgt_core.views import sound

        if image is not None:
            raise MGTError("image is given and the codec is of sound, whose tokens lie over no image; leave it unwired")
        codec.check_codes(tokens.codebook_size, "the tokens are of a model with")
        return getattr(sound, self.chart)(tokens, codec.scale / codec.sample_rate)


@node("MGT Reveal Order")
class MGTRevealOrder(TokenMap):
    DESCRIPTION = "Shows at which step each token was fixed: dark ones first, yellow ones last, grey ones were given."
    SEARCH_ALIASES = ["heat map", "order", "steps", "inspect", "visualize"]

    of_pictures = staticmethod(pictures.reveal_order)
    chart = "reveal_chart"


@node("MGT Confidence Map")
class MGTConfidenceMap(TokenMap):
    DESCRIPTION = "Shows how probable each token was when it was drawn: dark is 0, yellow is 1, grey ones were given."
    SEARCH_ALIASES = ["heat map", "probability", "uncertainty", "inspect", "visualize"]

    of_pictures = staticmethod(pictures.confidence_map)
    chart = "confidence_chart"


@node("MGT Sampling Animation")
class MGTSamplingAnimation:
    DESCRIPTION = "Plays the run again: one frame a step, each token appearing when it was fixed."
    CATEGORY = "MGT/inspect"
    SEARCH_ALIASES = ["webp", "gif", "video", "frames", "visualize"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("frames",)
    OUTPUT_TOOLTIPS = ("The frames as a batch of images, for a node that saves animations or videos.",)
    FUNCTION = "animate"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("Tokens from MGT Sample, which records when each was fixed."),
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model."),
                "frames_per_second": number("How many steps are shown in a second.", 8.0, 0.1, 60.0, 0.5),
                "hold_last": number("How long the finished image stays, in seconds.", 1.5, 0.0, 60.0, 0.5),
                "batch_index": integer("Which image of the batch to show, counted from 0.", 0, 0, 4095),
            }
        }

    def animate(self, tokens, codec, frames_per_second: float, hold_last: float, batch_index: int):
        frames, held = [], round(hold_last * frames_per_second)
        for frame in pictures.animation_frames(tokens, codec, batch_index):
            host.raise_if_interrupted()
            pictures.check_pixels("the frames", frame.size, int(tokens.revealed_at.max()) + 2 + held)
            frames.append(frame)
        frames += frames[-1:] * held
        try:
            shown = animation((enlarged(frame, LARGEST_PREVIEW) for frame in frames), frames_per_second)
        except OSError as error:  # the frames themselves are not lost for it
            log.warning("the animation cannot be shown: %s", reason(error))
            shown = {}
        images = torch.stack([pictures.from_pil(frame) for frame in frames])
        return {"ui": shown, "result": (images.to(host.intermediate_device()),)}


@node("MGT Compare Grid")
class MGTCompareGrid:
    DESCRIPTION = "Puts images side by side, each under its label, to compare settings."
    CATEGORY = "MGT/inspect"
    SEARCH_ALIASES = ["grid", "contact sheet", "xy plot", "side by side", "labels"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The sheet, one image.",)
    FUNCTION = "arrange"

    @classmethod
    def INPUT_TYPES(cls):
        more = "More images; all of a batch are shown, in order."
        return {
            "required": {
                "image_1": image_input("The first images; all of a batch are shown, in order."),
                "labels": text_input(
                    "One label a line, the first for image_1 and so on; an empty line for no label. "
                    "The images of a batch are numbered as well."
                ),
                "columns": integer("Images in a row; 0 puts all of them in one.", 0, 0, 64),
            },
            "optional": {f"image_{place}": image_input(more) for place in range(2, 9)},
        }

    def arrange(
        self,
        image_1,
        labels: str,
        columns: int,
        image_2=None,
        image_3=None,
        image_4=None,
        image_5=None,
        image_6=None,
        image_7=None,
        image_8=None,
    ):
        batches = (image_1, image_2, image_3, image_4, image_5, image_6, image_7, image_8)
        images, names = labelled(batches, lines_of(labels))
        return (pictures.labelled_grid(images, names, columns).to(host.intermediate_device()),)


def labelled(batches: tuple[Tensor | None, ...], labels: list[str]) -> tuple[list[Tensor], list[str]]:
    """Every image of the batches that are there, and a label for each: its batch's, numbered if there are several."""
    images, names = [], []
    for place, batch in enumerate(batches):
        if batch is None:
            continue
        if batch.ndim != 4 or batch.shape[-1] not in (3, 4):
            raise MGTError(f"image_{place + 1} has shape {list(batch.shape)}; expected [batch, height, width, 3]")
        label = labels[place].strip() if place < len(labels) else ""
        images += list(batch)
        names += [label] if len(batch) == 1 else [f"{label} #{i}".strip() for i in range(1, len(batch) + 1)]
    return images, names


@node("MGT Describe Model")
class MGTDescribeModel:
    DESCRIPTION = (
        "Lists what is attached to a model, in the order in which it acts, and the settings that it recommends, which "
        "MGT Sample uses where its own widgets leave them open. Then what lies in the folders of models and cannot "
        "be picked, and why."
    )
    CATEGORY = "MGT/inspect"
    SEARCH_ALIASES = ["info", "debug", "patches", "list", "attached", "missing", "checkpoint"]
    RETURN_TYPES = (STRING,)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = (
        "What the model recommends, a line for each attachment with its settings, and what was left out of the lists "
        "of models.",
    )
    FUNCTION = "describe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": model_input()}}

    def describe(self, model: mgt_core.MGTModel):
        text = "\n".join([description(model), *choices.left_out()])
        return reported(text, text)
