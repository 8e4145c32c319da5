"""Nodes about classifier-free guidance."""

from .. import mgt_core
from .patches import ModelPatch
from .types import MGT_BRANCH, interval, node, socket


@node("MGT Guidance Schedule")
class MGTGuidanceSchedule(ModelPatch):
    DESCRIPTION = (
        "Uses the cfg of MGT Sample in a part of the run only, or lets it rise or fall over the run. "
        "Steps with a guidance of 1 cost half."
    )
    SEARCH_ALIASES = ["cfg", "guidance interval", "limited interval", "classifier-free guidance", "dynamic cfg"]
    OUTPUT_TOOLTIPS = ("A copy of the model with this guidance; one attached before is replaced.",)
    part = mgt_core.GuidanceSchedule
    tooltips = {
        **interval("guidance"),
        "shape": "Value between start and end: constant is the cfg of MGT Sample; rising and cosine rising go "
        "from the value outside up to cfg over the whole run, falling goes the other way; mask falls as the masked "
        "tokens do, as MAGNeT has it.",
        "outside": "Guidance in the other steps; 1 uses the prompt alone, at half the cost.",
    }
    rare = ()


@node("MGT Self-Guidance")
class MGTSelfGuidance(ModelPatch):
    DESCRIPTION = (
        "Steers away from a second, blurred opinion of the same model: what it makes of the meaning alone. "
        "Sharper detail for one more pass a step."
    )
    SEARCH_ALIASES = ["self-guidance", "sg", "toast", "unlockmgm", "guidance without cfg", "autoguidance"]
    OUTPUT_TOOLTIPS = ("A copy of the model with Self-Guidance; one attached before is replaced.",)
    part = mgt_core.SelfGuidance
    tooltips = {
        "scale": "How strongly to steer away: 1 as published, 0 changes nothing. It adds to the cfg of MGT Sample.",
        **interval("Self-Guidance"),
    }

    @classmethod
    def INPUT_TYPES(cls):
        model, *widgets = super().INPUT_TYPES()["required"].items()
        branch = socket(MGT_BRANCH, "The branch trained for this model, from MGT Load Self-Guidance.")
        return {"required": dict([model, ("branch", branch), *widgets])}
