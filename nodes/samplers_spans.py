"""MAGNeT's choices: a sampler of spans, and how the steps of a run are divided among code books."""

from .. import mgt_core
from ..mgt_core.errors import MGTError, shortened
from ..mgt_core.plain import whole_text
from .inputs import judged
from .patches import ModelPatch
from .samplers import SamplerChoice
from .types import STRING, model_input, node


@node("MGT MAGNeT Sampler")
class MGTSamplerMAGNeT(SamplerChoice):
    DESCRIPTION = (
        "Masked decoding as of sound: each step draws every masked token, and masks the spans of neighbours again that "
        "it is least sure of. Works on pictures too, along their rows."
    )
    SEARCH_ALIASES = ["magnet", "span", "audio", "music", "sound", "masked audio", "top p", "nucleus"]
    part = mgt_core.Spans
    tooltips = {
        "span_length": "Tokens of a span, which are masked again as one: 3 as published, 60 ms of sound. 1 decides "
        "token by token.",
        "arrangement": "nonoverlapping: one span after the other, as released; of a sound the last one or two frames "
        "are left out. overlapping: a span begins at every token, and may mask tokens again that were kept.",
        "scoring": "How sure it is of a span: max, the likeliest of its tokens decides, as released; product, all "
        "count. Overlapping spans always count all.",
        "temperature": "What logits are divided by before tokens are drawn: 3 for music, 3.5 for sounds. Above 1 more "
        "varied.",
        "annealed": "The temperature falls in a straight line, to almost nothing at the last step of each code book. "
        "Off: it stays.",
        "top_p": "Tokens are drawn from the likeliest ones that hold this probability: 0.9 for music, 0.8 for sounds, "
        "1 for all of them.",
        "greedy": "Takes the likeliest tokens and draws nothing: every seed gives the same.",
    }
    rare = ("greedy",)
    SHOWN_FOR = {"scoring": {"arrangement": ("nonoverlapping",)}}


@node("MGT Stage Steps")
class MGTStageSteps(ModelPatch):
    DESCRIPTION = (
        "Divides the steps of a run among the code books of a sound, which are filled one after the other; the first "
        "decides most."
    )
    SEARCH_ALIASES = ["magnet", "decoding steps", "code books", "stages", "audio", "sound", "music"]
    OUTPUT_TOOLTIPS = ("A copy of the model with this division; one attached before is replaced.",)
    part = mgt_core.StageSteps
    rare = ()
    tooltips = {
        "shares": "A number for each code book: 20, 10, 10, 10 as published, 60, 10, 10, 10 for 30 seconds of music. A "
        "run of as many steps as they add up to takes just these; others are divided like them.",
    }

    @classmethod
    def INPUT_TYPES(cls):
        shares = {"default": ", ".join(map(str, cls.part().shares)), "tooltip": cls.tooltips["shares"]}
        return {"required": {"model": model_input(), "shares": (STRING, shares)}}

    @classmethod
    def VALIDATE_INPUTS(cls, shares=None):
        return judged(lambda text: cls.part(numbers_in(text)), shares)

    def attach(self, model, shares: str):
        return super().attach(model, shares=numbers_in(shares))


def numbers_in(text: str) -> tuple[int, ...]:
    """Of a list such as "20, 10, 10, 10". Raises MGTError for anything else."""
    try:
        return tuple(map(int, whole_text(text).replace(",", " ").split()))
    except (ValueError, AttributeError):  # no numbers, or no text
        raise MGTError(
            f"shares are {shortened(repr(text), 40)}; expected whole numbers, one a code book, such as 20, 10, 10, 10"
        ) from None
