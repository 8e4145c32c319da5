"""Nodes that bring models in."""

from . import host
from .types import MGT_CODEC, MGT_MODEL, MGT_TEXT, combo, node


@node("Load MGT Model")
class MGTLoadModel:
    DESCRIPTION = (
        "Loads a masked generative transformer with its image codec and, where it has one, its text encoder. "
        "The built-in 'demo' needs no download; put others in models/mgt."
    )
    CATEGORY = "MGT/loaders"
    SEARCH_ALIASES = ["meissonic", "maskgit", "amused", "halton", "masked generative transformer", "checkpoint"]
    RETURN_TYPES = (MGT_MODEL, MGT_TEXT, MGT_CODEC)
    RETURN_NAMES = ("model", "text", "codec")
    OUTPUT_TOOLTIPS = (
        "The transformer that fills in masked tokens.",
        "The text encoder, for MGT Text Encode; nothing for models of classes, which take MGT Class Label.",
        "The codec that turns tokens into pixels, for MGT Decode.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": combo(
                    list(host.bundles()),
                    "'demo' is built in. The others are folders in Hugging Face layout under models/mgt "
                    "or among ComfyUI's diffusers, diffusion model and checkpoint folders, and under models/mgt "
                    "also MaskGIT folders and Halton-MaskGIT files with their codec beside them.",
                ),
                "dtype": combo(
                    list(host.DTYPES),
                    "Number format to compute in. auto: what suits the device; float32: exact and twice the memory.",
                ),
            }
        }

    def load(self, model: str, dtype: str):
        pipe = host.load(model, dtype)
        return pipe.model, pipe.text, pipe.codec
