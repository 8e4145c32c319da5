"""Nodes that set a second model beside the one that samples."""

from .. import mgt_core
from .patches import ModelPatch
from .samplers import ConfidenceChoice
from .types import MGT_MODEL, node, socket


@node("MGT Path Planning Sampler")
class MGTSamplerPathPlanning(ConfidenceChoice):
    DESCRIPTION = (
        "MaskGIT that plans each step over all tokens: known ones that the model, or a second one, no longer believes "
        "in are masked again and drawn anew."
    )
    SEARCH_ALIASES = ["p2", "path planning", "self-planning", "remasking", "revise", "rdm", "self-correction"]
    part = mgt_core.PathPlanning
    tooltips = {
        "eta": "How readily known tokens are masked again: 0 never, which is MaskGIT; 1, as released, on a par with "
        "new ones; above 1 sooner.",
    }

    @classmethod
    def INPUT_TYPES(cls):
        planner = socket(
            MGT_MODEL,
            "A model of the same vocabulary that judges the known tokens, for one more pass a step. Unwired: the model "
            "that samples does so itself, in the same pass.",
        )
        return {**super().INPUT_TYPES(), "optional": {"planner": planner}}


@node("MGT Rescoring")
class MGTRescoring(ModelPatch):
    DESCRIPTION = (
        "Draws and rates tokens by what two models predict together: their probabilities are mixed, each guided by "
        "itself. A base and its fine-tune, or two sizes."
    )
    SEARCH_ALIASES = ["rescore", "rescorer", "magnet", "ensemble", "mixture", "two models", "merge models"]
    OUTPUT_TOOLTIPS = ("A copy of the model with the second one beside it; one attached before is replaced.",)
    part = mgt_core.Rescoring
    tooltips = {
        "weight": "Share of the rescorer in the mixture: 0 leaves the model alone, at its own cost; 1 the rescorer.",
    }

    @classmethod
    def INPUT_TYPES(cls):
        model, *widgets = super().INPUT_TYPES()["required"].items()
        rescorer = socket(
            MGT_MODEL,
            "The second model, of the same vocabulary and prompts, with LoRAs, patches and a guidance schedule of its "
            "own.",
        )
        return {"required": dict([model, ("rescorer", rescorer), *widgets])}
