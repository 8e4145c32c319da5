"""The text encoder that a model's authors load in place of the one in their bundle, and how it is told.

Meissonic's scripts for its 1024 px weights (inference.py, inference_fp16.py, inference_fp8.py, inpaint.py, predict.py,
app.py) load laion/CLIP-ViT-H-14-laion2B-s32B-b79K, "using original text enc for stable sampling"; those for Monetico
load the bundle's own. Fine-tunes that are published as a transformer alone were made with either (laion's in MaskFocus'
inference.py, that of Meissonic's bundle in Di[M]O's sample_Meissonic.py), and nothing is said of them.
"""

from ..backbones.base import Backbone
from ..conditioning.clip import INSIDE, LAION, POSITIONS, PROJECTION, TOKENS, Shapes, text_values
from ..conditioning.text import TextEncoder
from .part import Part
from .weights import shapes_of

MARK = "mgt_checkpoint"  # in the config of an encoder that `save_bundle` wrote: what it was told to be
LAYERS = 24
TEXT: Shapes = {
    TOKENS: (49408, 1024),
    POSITIONS: (77, 1024),
    INSIDE.format(LAYERS - 1): (4096, 1024),
    PROJECTION: (1024, 1024),
}
PICTURES: Shapes = {  # ViT-H/14: 32 layers of width 1280
    "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
    "vision_model.encoder.layers.31.mlp.fc1.weight": (5120, 1280),
    "visual_projection.weight": (1024, 1280),
}


def checkpoint_of(part: Part) -> str:
    """The repository whose weights a text encoder has, "" where that cannot be told.

    The encoder that lies in Meissonic's bundle has the same sizes, so those of the text side do not tell: what tells is
    that the side for pictures lies beside it, as laion publish it and no bundle has it; else the name that the
    repository gave its folder or file. Other whole models of these sizes (fine-tunes of it) are taken for it."""
    if mark := part.config.get(MARK):
        return str(mark)
    shapes = {part.kind.renamed(name): shape for name, shape in shapes_of(part.stored).items()}
    activation = text_values(part.config).get("hidden_act", "gelu")
    if not holds(shapes, TEXT) or INSIDE.format(LAYERS) in shapes or activation != "gelu":
        return ""
    named = any(LAION.split("/")[1].lower() in name.lower() for name in part.path.absolute().parts)
    return LAION if named or holds(shapes, PICTURES) else ""


def holds(shapes: Shapes, wanted: Shapes) -> bool:
    return all(shapes.get(name) == shape for name, shape in wanted.items())


def encoder_advice(network: Backbone, text: TextEncoder | None) -> str:
    """One sentence for a text encoder other than the one that the model's authors load, if they load one; else ""."""
    wanted = network.published_text_encoder
    if text is None or not wanted or text.checkpoint == wanted:
        return ""
    return (
        f"the authors of these weights load the text encoder of {wanted} in place of the bundle's, and this one is "
        f"another: put model.safetensors of huggingface.co/{wanted} as "
        f"models/text_encoders/{wanted.split('/')[1]}.safetensors and choose that as text_encoder"
    )
