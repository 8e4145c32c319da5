"""Nodes that attach something to a model: MGT_MODEL in, a copy with one more modifier out.

Modifiers act on the logits in the order in which their nodes are wired, from the loader to the sampler.
"""

from .. import mgt_core
from ..mgt_core.modifiers.differential import POSITIONS
from ..mgt_core.modifiers.noise import NOISE_SHAPES
from .types import MGT_MODEL, combo, integer, model_input, node, number, range_inputs


class ModelPatch:
    """What such nodes share. The model is the first input and the first output, so that bypassing
    one in ComfyUI hands the model through."""

    CATEGORY = "MGT/patches"
    RETURN_TYPES = (MGT_MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("A copy of the model with this attached after what was there; the weights are shared.",)
    FUNCTION = "attach"


@node("MGT Noise Regularization")
class MGTNoiseRegularization(ModelPatch):
    DESCRIPTION = (
        "Adds Gaussian noise to the logits before tokens are drawn, most of it at the start and the end of the run."
    )
    SEARCH_ALIASES = ["noise", "diversity", "bag of tricks", "meissonic", "logits"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "amplitude": number(
                    "Largest standard deviation of the noise on a logit; the paper uses 2, and 0 changes nothing.",
                    2.0,
                    0.0,
                    1000.0,
                ),
                "shape": combo(
                    list(NOISE_SHAPES),
                    "How strong the noise is over the run: paper, |cos|, is strong at both ends and 0 in the middle; "
                    "constant keeps it up; linear and cosine fall from full to none.",
                ),
                **range_inputs("the noise"),
            }
        }

    def attach(self, model, amplitude: float, shape: str, start: float, end: float):
        return (model.with_modifier(mgt_core.NoiseRegularization(amplitude, shape, start=start, end=end)),)


@node("MGT Differential Sampling")
class MGTDifferentialSampling(ModelPatch):
    DESCRIPTION = (
        "Where the prediction has hardly moved since the step before, draws from what is new in it "
        "instead of from all of it."
    )
    SEARCH_ALIASES = ["difference", "low entropy", "bag of tricks", "meissonic", "kl divergence"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "share": number(
                    "Share of the positions, those that moved least, that are drawn from the difference; "
                    "the paper uses 0.75, and 0 changes nothing.",
                    0.75,
                    0.0,
                    1.0,
                    0.05,
                ),
                "positions": combo(
                    POSITIONS,
                    "Which positions are ranked: all, as in the paper, or only those still masked, "
                    "which needs less memory.",
                ),
                **range_inputs("it"),
            }
        }

    def attach(self, model, share: float, positions: str, start: float, end: float):
        return (model.with_modifier(mgt_core.DifferentialSampling(share, positions, start=start, end=end)),)


@node("MGT Entropy Temperature")
class MGTEntropyTemperature(ModelPatch):
    DESCRIPTION = (
        "Gives every token a temperature of its own: where the model is unsure tokens are drawn more carefully, "
        "where it is sure more freely."
    )
    SEARCH_ALIASES = ["entropy", "temperature", "adaptive", "dynamic temperature"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "scale": number(
                    "What is added to the temperature where the model is certain; the paper uses 2.5, and 0 leaves "
                    "the floor everywhere.",
                    2.5,
                    0.0,
                    100.0,
                ),
                "decay": number(
                    "Entropy, in nats, over which that addition falls to 37 %; the paper uses 3.", 3.0, 0.01, 100.0
                ),
                "floor": number(
                    "Temperature where the model has no idea; the paper uses 0.7. Below 1 sharpens, above 1 flattens.",
                    0.7,
                    0.01,
                    100.0,
                ),
                **range_inputs("it"),
            }
        }

    def attach(self, model, scale: float, decay: float, floor: float, start: float, end: float):
        return (model.with_modifier(mgt_core.EntropyTemperature(scale, decay, floor, start=start, end=end)),)


@node("MGT Top-k / Top-p")
class MGTTopKTopP(ModelPatch):
    DESCRIPTION = (
        "Lets only the likeliest tokens of a cell be drawn: the k best, or the fewest that hold probability p."
    )
    SEARCH_ALIASES = ["top k", "top p", "nucleus sampling", "truncation"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "k": integer("How many of the likeliest tokens can be drawn; 0 for all of them.", 0, 0, 65536),
                "p": number(
                    "The likeliest tokens that together hold this probability can be drawn; 1 for all of them. "
                    "Counted among the k that are left.",
                    1.0,
                    0.0,
                    1.0,
                    0.05,
                ),
                **range_inputs("it"),
            }
        }

    def attach(self, model, k: int, p: float, start: float, end: float):
        return (model.with_modifier(mgt_core.TopKTopP(k, p, start=start, end=end)),)
