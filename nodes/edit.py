"""Nodes that edit a picture by an instruction."""

from .. import mgt_core
from ..mgt_core.types import PICTURES
from . import host
from .patches import ModelPatch
from .sizes import judges_tile
from .tokens import say_of_size
from .types import (
    IMAGE,
    MGT_CODEC,
    MGT_MODEL,
    MGT_TOKENS,
    combo,
    folded,
    image_input,
    model_input,
    node,
    setting_inputs,
    socket,
    tile_input,
)

SIZES = ("of the model", "of the picture")


@node("MGT Edit Reference")
class MGTEditReference(ModelPatch):
    FOR = PICTURES
    DESCRIPTION = (
        "Shows a picture to an editing model such as EditMGT: the prompt then says what to change in it. The picture "
        "is stretched to the size that the model makes; MGT Stretch Back gives the result the size of the picture."
    )
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["editmgt", "instruction", "instruct pix2pix", "image edit", "kontext", "reference image"]
    RETURN_TYPES = (MGT_MODEL, MGT_TOKENS, IMAGE)
    RETURN_NAMES = ("model", "tokens", "image")
    OUTPUT_TOOLTIPS = (
        "A copy of the model that sees the picture; one that was shown before is replaced.",
        "The tokens of the picture, for MGT Sample, which draws all of them anew; or for MGT Mask Tokens first.",
        "The picture as the model sees it, for MGT Paste Back.",
    )
    VALIDATE_INPUTS = classmethod(judges_tile)
    part = mgt_core.ReferencePicture
    tooltips = {
        "strength": "How much of the attention between the two pictures counts: 1.1 as in the authors' script; more "
        "keeps more of the picture, 0 is the model without it.",
        "local_guidance": "Keeps what the prompt does not look at: tokens with a lower score of attention, from 0 to "
        "1, are taken from the picture. 0 is off, 1 keeps nearly everything.",
        "mask_reference": "For inpainting: what is masked in the tokens is masked in the picture that the model sees "
        "too, as in the released code. Off, it sees the whole picture.",
    }
    rare = ("local_guidance", "mask_reference")

    @classmethod
    def INPUT_TYPES(cls):
        others = {
            "size": combo(
                SIZES,
                "of the model: stretched to the size it was trained at, whatever the proportions, as published. of the "
                "picture: to the nearest size that the model takes; others than its own are worse.",
            ),
            "tile_size": tile_input("encodes"),
        }
        strength, *widgets = setting_inputs(cls.part, cls.tooltips, cls.rare).items()
        return {
            "required": {
                "model": model_input(),
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model; it must be that of the model."),
                "image": image_input("The picture to edit; several are edited at once, each its own."),
                **dict([strength]),
                **dict(widgets),
                **folded(others, others),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def attach(self, model, codec, image, size: str, tile_size: int, unique_id=None, **settings):
        model.network.check_supports(self.part.needs, self.part.title)
        own = tuple(image.shape[1:3])
        wanted = model.trained_size if size == SIZES[0] and model.trained_size else model.good_size(*own)
        image = mgt_core.stretched(image[..., :3], wanted)
        tokens = mgt_core.encode_image(model, codec, image, tile_size=tile_size)
        say_of_size(model, tokens, unique_id)
        return model.with_part(self.part(tokens.tokens, **settings)), tokens, image


@node("MGT Stretch Back")
class MGTStretchBack:
    DESCRIPTION = (
        "Stretches pictures to the size of another one: what MGT Edit Reference did to a picture is undone in its edit."
    )
    CATEGORY = "MGT/tokens"
    SEARCH_ALIASES = ["resize", "scale", "size of another", "match size", "editmgt"]
    RETURN_TYPES = (IMAGE,)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The pictures at that size.",)
    FUNCTION = "stretch"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": image_input("The pictures from MGT Decode."),
                "original": image_input("The picture whose size they get."),
            }
        }

    def stretch(self, image, original):
        return (mgt_core.stretched(image, tuple(original.shape[1:3])).to(host.intermediate_device()),)
