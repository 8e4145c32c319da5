"""Nodes that make the token grids which sampling starts from: empty ones, and those of given pictures."""

from .. import mgt_core
from ..mgt_core.editing import MOST_CELLS, ORDERS
from ..mgt_core.errors import join_some
from ..mgt_core.types import PICTURES
from . import host
from .sizes import judges_padding, judges_picture, judges_tile
from .types import (
    IMAGE,
    LONGEST_SIDE,
    MASK,
    MGT_CODEC,
    MGT_TOKENS,
    SIDE_UNIT,
    batch_input,
    combo,
    image_input,
    integer,
    model_input,
    node,
    number,
    seed_input,
    side_input,
    socket,
    tile_input,
    tokens_input,
)


class TokenNode:
    """What nodes share that make one token grid an image."""

    CATEGORY = "MGT/tokens"
    RETURN_TYPES = (MGT_TOKENS,)
    RETURN_NAMES = ("tokens",)


@node("MGT Empty Tokens")
class MGTEmptyTokens(TokenNode):
    FOR = PICTURES
    INSTEAD = "MGT Empty Sound Tokens"
    DESCRIPTION = "A grid of masked tokens for each image: where text to image starts."
    SEARCH_ALIASES = ["empty latent", "size", "width", "height", "batch"]
    OUTPUT_TOOLTIPS = ("Token grids with every cell masked.",)
    FUNCTION = "make"
    VALIDATE_INPUTS = classmethod(judges_picture)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "width": side_input("Width"),
                "height": side_input("Height"),
                "batch_size": batch_input(),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def make(self, model, width: int, height: int, batch_size: int, unique_id=None):
        tokens = mgt_core.empty_tokens(model, height=height, width=width, batch=batch_size)
        say_of_size(model, tokens, unique_id)
        return (tokens,)


@node("MGT Encode Image")
class MGTEncodeImage(TokenNode):
    FOR = PICTURES
    INSTEAD = "MGT Encode Audio"
    DESCRIPTION = (
        "Turns pictures into token grids, to be repainted in part: image to image, inpainting, outpainting. "
        "Scale them first to a size that the model takes."
    )
    SEARCH_ALIASES = ["img2img", "image to image", "vae encode", "vq encode", "denoise", "strength"]
    OUTPUT_TOOLTIPS = ("The tokens of the pictures, for MGT Sample, MGT Mask Tokens or MGT Pad Tokens.",)
    FUNCTION = "encode"
    VALIDATE_INPUTS = classmethod(judges_tile)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model; it must be that of the model."),
                "image": image_input("The pictures; their sides must be multiples that the model takes."),
                "strength": number(
                    "How much is repainted: the share of the steps that MGT Sample does. It masks again, at random "
                    "by its seed, the share of the tokens that its schedule has left by then. 1 starts from nothing, "
                    "0 keeps the picture. Leave it at 1 for inpainting from scratch.",
                    0.6,
                    0.0,
                    1.0,
                    0.05,
                ),
                "tile_size": tile_input("encodes"),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def encode(self, model, codec, image, strength: float, tile_size: int, unique_id=None):
        tokens = mgt_core.encode_image(model, codec, image, strength, tile_size)
        say_of_size(model, tokens, unique_id)
        return (tokens,)


@node("MGT Mask Tokens")
class MGTMaskTokens(TokenNode):
    FOR = PICTURES
    INSTEAD = "MGT Mask Sound"
    DESCRIPTION = "Inpainting: frees the tokens under a mask to be drawn anew and fixes all others."
    SEARCH_ALIASES = ["inpaint", "mask editor", "set latent noise mask", "repaint"]
    OUTPUT_TOOLTIPS = ("The tokens, those under the mask free, for MGT Sample.",)
    FUNCTION = "mask"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("The tokens of the pictures, from MGT Encode Image or MGT Sample."),
                "mask": (
                    MASK,
                    {"tooltip": "What to draw anew; a token is free if any pixel of its square is above 0."},
                ),
                "grow": integer(
                    "Tokens by which the free area is extended on every side, so that the new fits the old.",
                    0,
                    0,
                    MOST_CELLS,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def mask(self, tokens, mask, grow: int, unique_id=None):
        masked = mgt_core.mask_tokens(tokens, mask, grow)
        say_what_is_free(masked.to_fill, unique_id)
        return (masked,)


@node("MGT Pad Tokens")
class MGTPadTokens(TokenNode):
    FOR = PICTURES
    INSTEAD = "MGT Extend Sound"
    DESCRIPTION = "Outpainting: adds empty tokens on any side of a picture and fixes those it has."
    SEARCH_ALIASES = ["outpaint", "extend", "uncrop", "expand canvas", "pad image"]
    RETURN_TYPES = (MGT_TOKENS, IMAGE, MASK)
    RETURN_NAMES = ("tokens", "image", "mask")
    OUTPUT_TOOLTIPS = (
        "The larger token grids, for MGT Sample.",
        "The picture at the larger size, its border repeated: the original for MGT Paste Back.",
        "What is to be drawn, at that size: the mask for MGT Paste Back.",
    )
    FUNCTION = "pad"
    VALIDATE_INPUTS = classmethod(judges_padding)

    @classmethod
    def INPUT_TYPES(cls):
        def side(which: str):
            return integer(f"Pixels to add {which}, a multiple of what the model takes.", 0, 0, LONGEST_SIDE, SIDE_UNIT)

        return {
            "required": {
                "model": model_input(),
                "tokens": tokens_input("The tokens of the picture, from MGT Encode Image or MGT Sample."),
                "image": image_input("The picture that these tokens stand for."),
                "left": side("on the left"),
                "top": side("above"),
                "right": side("on the right"),
                "bottom": side("below"),
                "redraw": integer(
                    "Tokens of the old picture beside the new ones that are drawn anew too, for a softer seam.",
                    0,
                    0,
                    MOST_CELLS,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def pad(self, model, tokens, image, left: int, top: int, right: int, bottom: int, redraw: int, unique_id=None):
        sides = (left, top, right, bottom)
        padded = mgt_core.pad_tokens(model, tokens, sides, redraw)
        say_of_size(model, padded, unique_id)
        larger, mask = mgt_core.pad_image(model, tokens, image, padded, sides)
        return padded, larger, mask


@node("MGT Vary Tokens")
class MGTVaryTokens(TokenNode):
    DESCRIPTION = "Variations: masks a share of a picture's tokens, to be drawn anew while the others stay."
    SEARCH_ALIASES = ["variation", "remask", "refine", "resample", "least confident"]
    SHOWN_FOR = {"seed": {"order": ["random"]}}
    OUTPUT_TOOLTIPS = ("The tokens with that share masked, for MGT Sample.",)
    FUNCTION = "vary"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "tokens": tokens_input("The tokens of the pictures, from MGT Sample or MGT Encode Image."),
                "share": number("Share of the tokens to draw anew.", 0.5, 0.0, 1.0, 0.05),
                "order": combo(
                    list(ORDERS),
                    "Which ones: random, decided by the seed; least confident, those that MGT Sample was least "
                    "sure of, which often repairs a picture.",
                ),
                "seed": seed_input(),
            }
        }

    def vary(self, tokens, share: float, order: str, seed: int):
        return (mgt_core.vary_tokens(tokens, share, order, seed),)


@node("MGT Paste Back")
class MGTPasteBack:
    DESCRIPTION = (
        "Puts a repainted picture back into the original under the mask: every pixel outside it stays exactly "
        "what it was, which the codec alone does not keep."
    )
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["composite", "inpaint crop and stitch", "blend", "feather", "seam"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The original with the repainted part in it.",)
    FUNCTION = "paste"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "original": image_input("The picture before."),
                "repainted": image_input("The picture from MGT Decode, of the same size."),
                "mask": (MASK, {"tooltip": "The mask that MGT Mask Tokens had, or that MGT Pad Tokens gives."}),
                "feather": integer(
                    "Pixels inside the mask over which the repainted part fades in; nothing outside changes.",
                    0,
                    0,
                    MOST_CELLS,
                ),
            }
        }

    def paste(self, original, repainted, mask, feather: int):
        return (mgt_core.paste_back(original, repainted, mask, feather),)


def say_of_size(model, tokens, node_id: str | None) -> None:
    """Under the node: that pictures are not of the size the model was trained at, or a sound is longer."""
    if note := model.size_note(tokens.grid):
        host.show_text(note, node_id)


def say_what_is_free(free, node_id: str | None) -> None:
    """Under the node: how many tokens of each image are to be drawn, or that there are none."""
    counts, cells = free.flatten(1).sum(1).tolist(), free[0].numel()
    text = f"{join_some(counts, 8)} of {cells} tokens are free to be drawn anew."
    host.show_text(text if any(counts) else "No token is free to be drawn anew: the mask is empty.", node_id)
