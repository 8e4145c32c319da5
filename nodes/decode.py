"""Nodes that turn tokens into pixels."""

import torch

from ..mgt_core.types import PICTURES
from . import host
from .sizes import judges_tile
from .types import IMAGE, MGT_CODEC, node, socket, tile_input, tokens_input


@node("MGT Decode")
class MGTDecode:
    FOR = PICTURES
    INSTEAD = "MGT Decode Audio"
    DESCRIPTION = "Turns token grids into images."
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["vae decode", "vq decode", "image", "pixels"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The images.",)
    FUNCTION = "decode"
    VALIDATE_INPUTS = classmethod(judges_tile)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("Token grids with every cell filled, from MGT Sample."),
                "codec": socket(
                    MGT_CODEC, "The codec, from MGT Load Model; it must be that of the model which made the tokens."
                ),
                "tile_size": tile_input("decodes"),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def decode(self, tokens, codec, tile_size: int, unique_id=None):
        if note := codec.decode_note(tokens.grid):
            host.show_text(note, unique_id)
        return (codec.decode(tokens, tile_size).to(host.intermediate_device(), torch.float32).contiguous(),)
