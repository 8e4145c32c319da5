"""Nodes that bring models in."""

from collections.abc import Sequence

from . import choices, host
from .types import (
    MGT_BRANCH,
    MGT_CODEC,
    MGT_MODEL,
    MGT_TEXT,
    Declaration,
    advanced,
    combo,
    model_input,
    node,
    number,
    quantization_input,
)

DTYPE = "Number format to compute in. auto: what suits the device; float32: exact and twice the memory."


def offered(known: Sequence[str], tooltip: str, default: str | None = None) -> Declaration:
    """A combo whose node says itself what is wrong with other values."""
    kind, options = combo(known, tooltip, default)
    return choices.Offered(kind), options


@node("MGT Load Model")
class MGTLoadModel:
    DESCRIPTION = (
        "Loads a masked generative transformer with its image codec and, where it has one, its text encoder. "
        "The built-in 'demo' needs no download; put others in models/mgt."
    )
    CATEGORY = "MGT/loaders"
    SEARCH_ALIASES = ["meissonic", "maskgit", "amused", "halton", "masked generative transformer", "checkpoint"]
    RETURN_TYPES = (MGT_MODEL, MGT_TEXT, MGT_CODEC)
    RETURN_NAMES = ("model", "text_encoder", "codec")
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
                "model": offered(
                    choices.models(),
                    "'demo' is built in. The others are folders in Hugging Face layout under models/mgt "
                    "or among ComfyUI's diffusers, diffusion model and checkpoint folders, and under models/mgt "
                    "also folders of MaskGIT and of MAGNeT (sound), Halton-MaskGIT files with their codec beside them, "
                    "and transformers alone, for which base lends the rest. What else lies in models/mgt comes last, "
                    "with what it is.",
                ),
                "dtype": advanced(combo(list(host.DTYPES), DTYPE)),
                "quantization": quantization_input(
                    "Packs the transformer's weights when it is loaded, with the calibration stored beside them or a "
                    "short one. none: as the files have them, which for quantized ones means quantized. MGT SCQ "
                    "Calibrate offers every setting.",
                    "none",
                ),
            },
            "optional": {
                "text_encoder": offered(
                    [*choices.OWN["text_encoder"], *host.text_encoders()],
                    "The text encoder to use. Meissonic at 1024 px wants CLIP-ViT-H-14-laion2B-s32B-b79K in "
                    "models/text_encoders, as its authors' scripts load it; Monetico and aMUSEd their own; MAGNeT a "
                    "folder of T5 (t5-base or t5-large), which is found there by its name. none: load no text encoder, "
                    "for use with MGT Load Text Encoder. The tokenizer stays the bundle's.",
                ),
                "codec": advanced(
                    offered(
                        [*choices.OWN["codec"], *host.codecs()],
                        "The codec to use: that of another model, or one that lies alone. It has to have as many codes "
                        "as the transformer.",
                    )
                ),
                "base": offered(
                    [*choices.OWN["base"], *host.lenders("vqvae")],
                    "The model that lends what this one lacks: text encoder, tokenizer and codec for a fine-tune "
                    "that is published as a transformer alone. A whole model borrows nothing.",
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model=None):
        return choices.answer("model", model)

    @classmethod
    def IS_CHANGED(cls, model=None, text_encoder=None, codec=None, base=None, **others):
        return choices.changes(model=model, text_encoder=text_encoder, codec=codec, base=base)

    def load(
        self,
        model: str,
        dtype: str,
        quantization: str = "none",
        text_encoder: str = host.FROM_BUNDLE,
        codec: str = host.FROM_BUNDLE,
        base: str = host.NONE,
        unique_id=None,
    ):
        model, *others = choices.names(model=model, text_encoder=text_encoder, codec=codec, base=base)
        pipe = host.load(model, dtype, quantization, unique_id, *others)
        return pipe.model, pipe.text, pipe.codec


@node("MGT Load Text Encoder")
class MGTLoadTextEncoder:
    DESCRIPTION = (
        "Loads a text encoder (CLIP, or T5 for sound) by itself, to use it in place of the one that MGT Load Model "
        "gives, or to change it without loading the transformer again."
    )
    CATEGORY = "MGT/loaders"
    SEARCH_ALIASES = ["clip", "t5", "text encoder", "tokenizer", "laion", "openclip"]
    RETURN_TYPES = (MGT_TEXT,)
    RETURN_NAMES = ("text_encoder",)
    OUTPUT_TOOLTIPS = ("The text encoder, for MGT Text Encode. Its width has to be what the transformer takes.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "text_encoder": offered(
                    list(host.text_encoders()),
                    "Encoders in models/text_encoders, clip_vision, diffusers and mgt: folders with config.json and "
                    "weights, whole CLIP models and those of T5 included, or safetensors files of CLIP. The name of a "
                    "model means its own.",
                    host.BUILT_IN,
                ),
                "tokenizer": offered(
                    [*choices.OWN["tokenizer"], *host.lenders("tokenizer")],
                    "beside the encoder: the one in its folder or in its model's. The name of a model takes that "
                    "model's, as Meissonic's scripts do with an encoder from elsewhere.",
                ),
                "dtype": advanced(combo(list(host.DTYPES), DTYPE)),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text_encoder=None):
        return choices.answer("text_encoder", text_encoder)

    @classmethod
    def IS_CHANGED(cls, text_encoder=None, tokenizer=None, **others):
        return choices.changes(text_encoder=text_encoder, tokenizer=tokenizer)

    def load(self, text_encoder: str, tokenizer: str, dtype: str):
        text_encoder, tokenizer = choices.names(text_encoder=text_encoder, tokenizer=tokenizer)
        return (host.load_text(text_encoder, tokenizer, dtype),)


@node("MGT Load Self-Guidance")
class MGTLoadSelfGuidance:
    DESCRIPTION = (
        "Loads the small branch that MGT Self-Guidance needs: one trained for the model, or none, which compares "
        "with the model's view of a blank canvas."
    )
    CATEGORY = "MGT/loaders"
    SEARCH_ALIASES = ["self-guidance", "toast", "unlockmgm", "branch", "feature selection"]
    RETURN_TYPES = (MGT_BRANCH,)
    RETURN_NAMES = ("branch",)
    OUTPUT_TOOLTIPS = ("The branch, for MGT Self-Guidance on the same model.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "branch": offered(
                    list(host.branches()),
                    "blank canvas needs no training. The others are the models themselves, some of which bring a "
                    "branch, and files under models/mgt/self_guidance.",
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, branch=None):
        return choices.answer("branch", branch)

    @classmethod
    def IS_CHANGED(cls, branch=None, **others):
        return choices.changes(branch=branch)

    def load(self, model, branch: str):
        (branch,) = choices.names(branch=branch)
        return (host.load_branch(branch, model),)


@node("MGT Load LoRA")
class MGTLoadLoRA:
    DESCRIPTION = (
        "Adds a LoRA, a small file of trained changes, to the transformer. Chain several to use them together."
    )
    CATEGORY = "MGT/loaders"
    SEARCH_ALIASES = [
        "lora",
        "dora",
        "loha",
        "lokr",
        "lycoris",
        "peft",
        "adapter",
        "fine-tune",
        "style",
        "lora for meissonic",
    ]
    RETURN_TYPES = (MGT_MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("A copy of the model with the LoRA; the weights are shared with the one that came in.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "lora": offered(
                    [*choices.OWN["lora"], *host.loras()],
                    "A file in models/loras that was trained for this model: a LoRA, DoRA, LoHa, LoKr or the like, as "
                    "any trainer writes it. none hands the model through.",
                ),
                "strength": number(
                    "What the LoRA's changes are multiplied by: 1 as trained, 0 none, below 0 the opposite.",
                    1.0,
                    -100.0,
                    100.0,
                    0.05,
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, lora=None):
        return choices.answer("lora", lora)

    @classmethod
    def IS_CHANGED(cls, lora=None, **others):
        return choices.changes(lora=lora)

    def load(self, model, lora: str, strength: float):
        path = choices.path_of("lora", lora)
        return (model.with_lora(path, strength) if path else model,)
