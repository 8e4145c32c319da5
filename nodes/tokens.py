"""Nodes that make the token grids which sampling starts from."""

from .. import mgt_core
from .types import MGT_TOKENS, batch_input, model_input, node, side_input


@node("MGT Empty Tokens")
class MGTEmptyTokens:
    DESCRIPTION = "A grid of masked tokens for each image: where text to image starts."
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["empty latent", "size", "width", "height", "batch"]
    RETURN_TYPES = (MGT_TOKENS,)
    RETURN_NAMES = ("tokens",)
    OUTPUT_TOOLTIPS = ("Token grids with every cell masked.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "width": side_input("Width"),
                "height": side_input("Height"),
                "batch_size": batch_input(),
            }
        }

    def make(self, model, width: int, height: int, batch_size: int):
        return (mgt_core.empty_tokens(model, height=height, width=width, batch=batch_size),)
