"""Nodes that attach something to a model: MGT_MODEL in, a copy with one more part out.

Modifiers act on the logits in the order in which their nodes are wired, from the loader to the sampler.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar

from .. import mgt_core
from .types import INTERVAL, MGT_MODEL, Timed, interval, model_input, node, setting_inputs


class ModelPatch(Timed):
    """What such nodes share. The model is the first input and the first output, so that bypassing
    one in ComfyUI hands the model through.

    part: the modifier or patch that is attached. tooltips: of its settings that are widgets, in their order. rare:
    those that are folded away. later: those that came after a release, which prompts saved before it lack.
    """

    CATEGORY = "MGT/patches"
    RETURN_TYPES = (MGT_MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("A copy of the model with this attached after what was there; the weights are shared.",)
    FUNCTION = "attach"

    tooltips: ClassVar[Mapping[str, str]]
    rare: ClassVar[Collection[str]] = INTERVAL
    later: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls):
        widgets = setting_inputs(cls.part, cls.tooltips, cls.rare)
        added = {name: widgets.pop(name) for name in cls.later}
        return {"required": {"model": model_input(), **widgets}, **({"optional": added} if added else {})}

    def attach(self, model, **settings):
        return (model.with_part(self.part(**settings)),)


@node("MGT Noise Regularization")
class MGTNoiseRegularization(ModelPatch):
    DESCRIPTION = (
        "Adds Gaussian noise to the logits before tokens are drawn, most of it at the start and the end of the run."
    )
    SEARCH_ALIASES = ["noise", "diversity", "bag of tricks", "logits"]
    part = mgt_core.NoiseRegularization
    tooltips = {
        "amplitude": "Largest standard deviation of the noise on a logit; the paper uses 2, and 0 changes nothing.",
        "shape": "How strong the noise is over the run: paper, |cos|, is strong at both ends and 0 in the middle; "
        "constant keeps it up; linear and cosine fall from full to none.",
        **interval("the noise"),
    }


@node("MGT Differential Sampling")
class MGTDifferentialSampling(ModelPatch):
    DESCRIPTION = (
        "Where the prediction has hardly moved since the step before, draws from what is new in it "
        "instead of from all of it."
    )
    SEARCH_ALIASES = ["difference", "low entropy", "bag of tricks", "kl divergence"]
    part = mgt_core.DifferentialSampling
    tooltips = {
        "share": "Share of the positions, those that moved least, that are drawn from the difference; "
        "the paper uses 0.75, and 0 changes nothing.",
        "positions": "Which positions are ranked: all, as in the paper, or only those still masked, "
        "which needs less memory.",
        **interval("it"),
        "rule": "released: as the authors' code acts, comparing with what was drawn from before and leaving the last "
        "step alone. formula: as the paper's text reads, at every step and against the plain prediction; at the "
        "paper's share it turns many tokens into noise.",
    }
    later = ("rule",)
    rare = (*INTERVAL, "rule")


@node("MGT Entropy Temperature")
class MGTEntropyTemperature(ModelPatch):
    DESCRIPTION = (
        "Gives every token a temperature of its own: where the model is unsure tokens are drawn more carefully, "
        "where it is sure more freely."
    )
    SEARCH_ALIASES = ["entropy", "temperature", "adaptive", "dynamic temperature"]
    part = mgt_core.EntropyTemperature
    tooltips = {
        "scale": "What is added to the temperature where the model is certain; the paper uses 2.5, and 0 leaves "
        "the floor everywhere.",
        "decay": "Entropy, in nats, over which that addition falls to 37 %; the paper uses 3.",
        "floor": "Temperature where the model has no idea; the paper uses 0.7. Below 1 sharpens, above 1 flattens.",
        **interval("it"),
    }


@node("MGT Top-k / Top-p")
class MGTTopKTopP(ModelPatch):
    DESCRIPTION = (
        "Lets only the likeliest tokens of a cell be drawn: the k best, or the fewest that hold probability p."
    )
    SEARCH_ALIASES = ["top k", "top p", "nucleus sampling", "truncation"]
    part = mgt_core.TopKTopP
    tooltips = {
        "k": "How many of the likeliest tokens can be drawn; 0 for all of them.",
        "p": "The likeliest tokens that together hold this probability can be drawn; 1 for all of them. "
        "Counted among the k that are left.",
        **interval("it"),
    }


@node("MGT Min-p")
class MGTMinP(ModelPatch):
    DESCRIPTION = "Lets only those tokens of a cell be drawn that are likely beside the likeliest one."
    SEARCH_ALIASES = ["min p", "truncation", "nucleus sampling"]
    part = mgt_core.MinP
    tooltips = {
        "p": "A token less probable than this share of the likeliest one cannot be drawn: 0 changes nothing, 1 leaves "
        "the likeliest one alone. Cuts much where the model is sure and little where it is not.",
        **interval("it"),
    }
