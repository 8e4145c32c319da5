"""Words from pictures, by models that have a text head."""

from .. import mgt_core
from ..mgt_core.captioning.caption import DEFAULTS, QUESTION
from ..mgt_core.types import PICTURES, Step
from . import host
from .reported import reported
from .types import (
    MGT_CODEC,
    MGT_SAMPLER,
    MGT_SCHEDULE,
    MGT_TEXT,
    STRING,
    chosen,
    image_input,
    integer,
    model_input,
    node,
    seed_input,
    socket,
    text_input,
)


@node("MGT Caption")
class MGTCaption:
    FOR = PICTURES
    DESCRIPTION = (
        "Says what pictures show, or answers a question about them, with a model that has a text head (Muddit): its "
        "words are unmasked step by step, as its pictures are."
    )
    CATEGORY = "MGT/sampling"
    SEARCH_ALIASES = ["image to text", "describe image", "vqa", "question", "interrogate", "muddit", "i2t"]
    RETURN_TYPES = (STRING,)
    RETURN_NAMES = ("caption",)
    OUTPUT_IS_LIST = (True,)
    OUTPUT_TOOLTIPS = ("The captions, a list with one for each picture; also shown on the node.",)
    FUNCTION = "caption"
    OUTPUT_NODE = True  # its text is worth a run without anything behind it
    HAS_INTERMEDIATE_OUTPUT = True  # newer hosts send its report again when it need not run

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "text_encoder": socket(
                    MGT_TEXT, "The text encoder, from MGT Load Model: Meissonic's own, which Muddit was trained with."
                ),
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model; it must be that of the model."),
                "image": image_input("The pictures; their sides must be multiples that the model takes."),
                "question": text_input(
                    "What is asked of every picture, as the model was trained to be asked. Empty: all words are the "
                    "model's.",
                    QUESTION,
                ),
                "seed": seed_input(),
                "steps": integer(
                    "Number of steps in which the 77 words are unmasked. 0: as the model's authors caption "
                    f"({DEFAULTS['steps']}).",
                    default=0,
                    low=0,
                    high=1000,
                ),
            },
            "optional": {
                "schedule": socket(
                    MGT_SCHEDULE,
                    "How many words stay masked after each step, from MGT Mask Schedule. Unwired: cosine. It counts "
                    "all 77 places, those of the question too.",
                ),
                "sampler": socket(
                    MGT_SAMPLER,
                    "How words are drawn and which are kept, from one of the sampler nodes. Unwired: MaskGIT.",
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def caption(
        self, model, text_encoder, codec, image, question, seed, steps, schedule=None, sampler=None, unique_id=None
    ):
        progress = host.Progress(steps or DEFAULTS["steps"], unique_id)

        def view(step: Step) -> None:
            host.raise_if_interrupted()
            progress.update(step.index + 1, step.total)

        captions = mgt_core.caption(
            mgt_core.Pipeline(model, text_encoder, codec, model.trained_size, ""),
            image,
            question,
            steps=chosen(steps, 0),
            seed=seed,
            schedule=schedule,
            sampler=sampler,
            callback=view,
        )
        lines = [f"{place}. {text}" for place, text in enumerate(captions, 1)] if len(captions) > 1 else captions
        return reported("\n".join(lines), captions)
