"""Samplers that settle when, and where, tokens are revealed before they draw them."""

from .. import mgt_core
from .samplers import ConfidenceChoice, SamplerChoice
from .types import advanced, combo, node


@node("MGT First-Hitting Sampler")
class MGTSamplerFirstHitting(SamplerChoice):
    DESCRIPTION = (
        "Masked diffusion at exact times: draws beforehand when each token is revealed, at random places, and skips "
        "the steps in which none is."
    )
    SEARCH_ALIASES = ["first-hitting", "fhs", "ancestral", "masked diffusion", "mdlm", "exact", "random order"]
    part = mgt_core.FirstHitting
    tooltips = {
        "tokens": "How many tokens each network call reveals, whatever the steps of MGT Sample: 1 is exact and makes "
        "as many calls as there are tokens. 0: the steps are a grid in time; tokens whose times fall into the same one "
        "come together, and empty ones cost nothing.",
    }


@node("MGT Moment Sampler")
class MGTSamplerMoment(ConfidenceChoice):
    DESCRIPTION = (
        "MaskGIT the other way round: first chooses which tokens to reveal, by how sure the model is there, then draws "
        "them, and shows MaskGIT's hidden temperature as a setting."
    )
    SEARCH_ALIASES = ["moment", "choose then sample", "maskgit", "implicit temperature", "gumbel top-k", "halton"]
    part = mgt_core.MomentSampler
    tooltips = {
        "sharpening": "How much of MaskGIT's hidden temperature the tokens are drawn with: 1 as MaskGIT, which makes "
        "likely tokens likelier; 0 draws them as the model has them, for more variety.",
        "exploration": "Share of each step's tokens that is taken in a fixed order, not by how sure the model is.",
    }
    rare = ("exploration",)

    @classmethod
    def INPUT_TYPES(cls):
        order = combo(
            list(mgt_core.ORDERS),
            "The order of the tokens that exploration takes: halton, spread evenly; random; raster, row by row.",
            default="halton",
        )
        return {"required": {**super().INPUT_TYPES()["required"], "order": advanced(order)}}
