"""Samplers whose number of steps follows the picture."""

from .. import mgt_core
from ..mgt_core.samplers.temperature import TEMPERATURE_SHAPES
from .samplers import ConfidenceChoice
from .types import advanced, node, setting_inputs, temperature_inputs

STEPS = "The steps of MGT Sample are the most that it takes, and its mask schedule the slowest pace."


@node("MGT Entropy-Bounded Sampler")
class MGTSamplerEntropyBounded(ConfidenceChoice):
    DESCRIPTION = (
        "EB-Sampler: each step reveals as many of the surest tokens as can depend on each other but little, by their "
        f"entropies, so that easy pictures take fewer steps. {STEPS}"
    )
    SEARCH_ALIASES = ["eb-sampler", "entropy bound", "adaptive steps", "fewer steps", "speed", "faster"]
    part = mgt_core.EntropyBounded
    tooltips = {
        "bound": "How uncertain the tokens of a step may be together: the sum of their entropies, in nats, less the "
        "largest. More takes fewer steps, and they fit each other less; 0 leaves all to the mask schedule.",
        "order": "Which tokens are the surest: entropy, those whose prediction has the least; confidence, whose "
        "likeliest code has the highest probability; margin, where that is farthest above the second; drawn, by the "
        "token that was drawn, as MaskGIT has it.",
    }

    @classmethod
    def INPUT_TYPES(cls):
        own = setting_inputs(cls.part, cls.tooltips)
        noise = {name: advanced(widget) for name, widget in temperature_inputs(list(TEMPERATURE_SHAPES)).items()}
        for name in ("temperature_start", "temperature_end"):
            noise[name][1]["default"] = 0.0  # the paper has no noise
        return {"required": own | noise}


@node("MGT KLASS Sampler")
class MGTSamplerKLASS(ConfidenceChoice):
    DESCRIPTION = (
        "Keeps the tokens whose prediction is sure and has stopped changing from step to step, however many these are, "
        f"so that easy pictures take fewer steps. {STEPS}"
    )
    SEARCH_ALIASES = ["klass", "stability", "kl divergence", "adaptive steps", "fewer steps", "speed", "faster"]
    part = mgt_core.KLASS
    tooltips = {
        "confidence": "A token is ready when its likeliest code has more than this probability; 1 is never reached, "
        "and leaves all to the mask schedule.",
        "kl": "And when its prediction has moved by less than this from each step to the next: KL divergence in nats.",
        "history": "For how many steps in a row it has to be so.",
        "cap": "The largest share of the picture's tokens that may be ready in one step.",
    }
    rare = ("history", "cap")
