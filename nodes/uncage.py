"""The node of UNCAGE, which finds the words of objects in an encoded prompt."""

from .. import mgt_core
from ..mgt_core.conditioning.objects import objects_of
from ..mgt_core.errors import MGTError
from ..mgt_core.plain import lines_of, members
from .conditioning import PROMPTS
from .samplers import ConfidenceChoice
from .types import INTERVAL, MGT_TEXT, conditioning_input, interval, node, socket, text_input


def prompts_of(conditioning: list) -> tuple[str, ...]:
    """The texts that MGT Text Encode or MGT Prompt Batch encoded. Raises MGTError where they are not told."""
    if not isinstance(conditioning, list) or len(conditioning) != 1:
        held = len(conditioning) if isinstance(conditioning, list) else "no"
        raise MGTError(f"UNCAGE looks at one prompt; conditioning holds {held}, expected that of MGT Text Encode")
    prompts = members(conditioning[0][1].get(PROMPTS))
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise MGTError(
            "conditioning does not tell the prompt that it encodes; expected that of MGT Text Encode or MGT Prompt "
            "Batch"
        )
    return tuple(prompts)


@node("MGT UNCAGE Sampler")
class MGTSamplerUNCAGE(ConfidenceChoice):
    DESCRIPTION = (
        "For prompts of several objects: MaskGIT that first keeps the tokens which clearly show one of them, by how "
        "much the picture attends to its words and not to the others'. For models that read prompts, as the "
        "built-in one does."
    )
    SEARCH_ALIASES = ["uncage", "attention", "several objects", "attribute binding", "attend and excite", "composition"]
    part = mgt_core.Uncage
    rare = ("blur", *INTERVAL)
    tooltips = {
        "weight": "How much the contrast of attention counts beside the confidence: 3 as published, 0 is MaskGIT.",
        "blur": "How far the maps of attention are smoothed, in tokens of a grid of 64 a side: 2 as published, 0 "
        "leaves them as they are.",
        **interval("UNCAGE"),
    }

    @classmethod
    def INPUT_TYPES(cls):
        own = {
            "conditioning": conditioning_input("The prompt that names the objects: the one that goes to positive."),
            "text_encoder": socket(MGT_TEXT, "The text encoder that the prompt was encoded with, from MGT Load Model."),
            "objects": text_input(
                "The objects, one a line, as the prompt has them, with the words that tell how they are: 'a red fox'. "
                "Without any this is MaskGIT."
            ),
        }
        return {"required": {**own, **super().INPUT_TYPES()["required"]}}

    def make(
        self,
        objects: str,
        temperature_start: float,
        temperature_end: float,
        conditioning=None,
        text_encoder=None,
        **settings,
    ):
        phrases, found = [line for line in map(str.strip, lines_of(objects)) if line], ()
        if phrases and text_encoder is None:
            raise MGTError("UNCAGE finds the words of a prompt by its text encoder, and none was loaded")
        if phrases:
            found = objects_of(prompts_of(conditioning), phrases, text_encoder, weights=True, chunks=True)
        return super().make(temperature_start, temperature_end, objects=found, **settings)
