"""Nodes that make models smaller, and save them."""

from pathlib import Path
from typing import ClassVar

from .. import mgt_core
from ..mgt_core.errors import MGTError, lookup
from ..mgt_core.plain import lines_of
from ..mgt_core.quantization.formats import FORMATS, Int4Layer
from ..mgt_core.quantization.schemes import GROUPS, Scheme
from ..mgt_core.types import PICTURES
from . import host
from .inputs import judged
from .preview import CalibrationView
from .reported import reported
from .types import (
    IMAGE,
    MGT_CODEC,
    MGT_MODEL,
    MGT_TEXT,
    STRING,
    combo,
    folded,
    image_input,
    integer,
    model_input,
    node,
    number,
    quantization_input,
    seed_input,
    setting_input,
    socket,
    text_input,
)

RENAMED = {"text": "text_encoder"}
UNWIRED = object()  # in place of a text encoder; None is that of a model which has none
SCHEMES = {name: mgt_core.SCHEMES.get(name)() for name in mgt_core.list_quantizations()}
FOUR_BIT = [name for name, scheme in SCHEMES.items() if FORMATS.get(scheme.format) is Int4Layer]
EIGHT_BIT_INPUTS = [name for name, scheme in SCHEMES.items() if scheme.int8_share]


@node("MGT SCQ Calibrate")
class MGTSCQCalibrate:
    DESCRIPTION = (
        "Quantizes the transformer: 4-bit weights take 30 % of the memory of 16 bits. Calibrates twice on states "
        "that sampling itself passes through, as the paper's SCQ does."
    )
    CATEGORY = "MGT/quantize"
    SEARCH_ALIASES = ["quantize", "int4", "int8", "w4a8", "fp8", "vram", "memory", "compress", "scq"]
    RETURN_TYPES = (MGT_MODEL, STRING, IMAGE)
    RETURN_NAMES = ("model", "report", "plot")
    OUTPUT_TOOLTIPS = (
        "The quantized model; the one that came in stays as it is. What was attached to it stays attached.",
        "Memory before and after, what changed, and a table of the layers, the largest errors first (Markdown).",
        "Error and scales of every layer.",
    )
    FUNCTION = "calibrate"
    HAS_INTERMEDIATE_OUTPUT = True  # newer hosts send its report again when it need not run
    rare = ("group_size", "int8_share", "activation_scales", "reconstruct", "condition_scales", "outputs", "finetune")
    RENAMED_INPUTS = RENAMED
    SHOWN_FOR = dict.fromkeys(("group_size", "reconstruct"), {"scheme": FOUR_BIT}) | {
        "int8_share": {"scheme": EIGHT_BIT_INPUTS},
        "activation_scales": {"scheme": EIGHT_BIT_INPUTS},
        "condition_scales": {"scheme": EIGHT_BIT_INPUTS, "activation_scales": ["static"]},
        "outputs": {"scheme": EIGHT_BIT_INPUTS},  # refused beside dynamic scales, so it is to be seen there
    }

    @classmethod
    def INPUT_TYPES(cls):
        required = {
            "model": model_input(),
            "scheme": quantization_input("How much is kept of each weight."),
            "group_size": combo(
                [str(size) for size in GROUPS],
                "Weights that share a scale (4-bit schemes): fewer are more exact and a little larger. 16 takes "
                "4.5 bits a weight, 64 takes 4.1.",
                "16",
            ),
            "int8_share": number(
                "Share of the layers, those with the smallest output scales, whose inputs are rounded to 8 bits "
                "too; the paper takes a third. Meant for w4a8, w8a8 and w8a8_fp8, the others ignore it.",
                0.333,
                0.0,
                1.0,
                0.05,
            ),
            "activation_scales": setting_input(
                Scheme,
                "activation_scales",
                "static: one calibrated scale a layer, as the paper has it; dynamic: one for each token, measured "
                "when it is used, which is what the fastest kernels do.",
            ),
            "keep": text_input(
                "Layers to leave in 16 bits, one pattern a line: modulation for all modulation layers, or names "
                "as the report has them, * for anything. Empty quantizes all linear layers but the token head."
            ),
            "reconstruct": setting_input(
                Scheme,
                "reconstruct",
                "Steps of fine-tuning each 4-bit layer against its float outputs, between the two calibrations; "
                "0 for none.",
            ),
            "prompts": text_input(
                "What is sampled to calibrate on, one prompt a line. Empty takes four of our own; models of "
                "classes take some of their classes instead.",
                "",
            ),
            "steps": integer("Steps of that sampling; 0 for the number the model recommends.", 0, 0, 1000),
            "states": integer("How many of these steps the calibrations look at, spread evenly.", 6, 1, 1000),
            "seed": seed_input(),
        }
        optional = {
            "text_encoder": socket(MGT_TEXT, "The text encoder, from MGT Load Model; models of text need it."),
            "images": image_input(
                "Pictures to calibrate on instead of sampled ones, scaled and cropped to the model's size; some of "
                "their tokens are masked at random. prompts then say what they show: a line for each, one for all, "
                "or none."
            ),
            "codec": socket(MGT_CODEC, "The codec, from MGT Load Model; images need it."),
            "condition_scales": setting_input(
                Scheme,
                "condition_scales",
                "Static scales: apart for the rows of the prompt and of the negative prompt, as the authors of the "
                "paper have it, or together.",
            ),
            "outputs": setting_input(
                Scheme,
                "outputs",
                "int8 rounds the outputs of the layers with 8-bit inputs, too, where 8 bits are read next, as the "
                "paper's authors have it; float leaves them.",
            ),
            "finetune": setting_input(
                mgt_core.CalibrationRun,
                "finetune",
                "Steps of fine-tuning the whole network between the two calibrations, on the pictures given or "
                "sampled; 0 for none. Every step takes 32 masked pictures, and the memory is 20 bytes a weight.",
            ),
        }
        hidden = {"unique_id": "UNIQUE_ID"}
        return {"required": folded(required, cls.rare), "optional": folded(optional, cls.rare), "hidden": hidden}

    def calibrate(
        self,
        model,
        scheme: str,
        group_size: str,
        int8_share: float,
        activation_scales: str,
        keep: str,
        reconstruct: int,
        prompts: str,
        steps: int,
        states: int,
        seed: int,
        text_encoder=None,
        images=None,
        codec=None,
        condition_scales: str = "apart",
        outputs: str = "float",
        finetune: int = 0,
        unique_id=None,
    ):
        from ..mgt_core.quantization.plots import report_plot

        kind = mgt_core.SCHEMES.get(scheme)
        size = lookup("group_size", group_size, {str(size): size for size in GROUPS})
        settings = {"group_size": size, "keep": tuple(lines(keep)), "reconstruct": reconstruct}
        if kind().int8_share:
            # The widget's three digits stand for the paper's third.
            share = 1 / 3 if abs(int8_share - 1 / 3) < 1e-3 else int8_share
            settings |= {"int8_share": share, "activation_scales": activation_scales}
            settings |= {"condition_scales": condition_scales, "outputs": outputs}
        scheme = kind(**settings)
        run = mgt_core.CalibrationRun(steps=steps or None, states=states, seed=seed, finetune=finetune)
        pictures, conditions = calibrated_on(model, lines(prompts), text_encoder, images, codec)
        view = CalibrationView(unique_id, model)
        done = mgt_core.quantize(model, scheme, *conditions, run, view.progress, view, pictures)
        report = done.report.text()
        plot = report_plot(done.report).to(host.intermediate_device())
        return reported(done.report.sentences(), host.place(done.model, "model"), report, plot)


def calibrated_on(model, prompts: list[str], text, images, codec):
    """Tokens of given pictures or None, and the conditions."""
    from ..mgt_core.quantization.calibration import PROMPTS

    if images is not None and model.makes != PICTURES:
        raise MGTError(f"images are given, and this model makes {model.makes}: it is calibrated on prompts alone")
    if images is None:
        return None, mgt_core.calibration_conditions(model, text, prompts or PROMPTS)
    if codec is None:
        raise MGTError("codec is not connected; images are turned into tokens by it")
    conditions = mgt_core.picture_conditions(model, text, prompts)
    return mgt_core.picture_tokens(model, codec, images), conditions


def lines(text: str) -> list[str]:
    return [line.strip() for line in lines_of(text) if line.strip()]


@node("MGT Quantize Text Encoder and Codec")
class MGTQuantizeParts:
    DESCRIPTION = (
        "Packs the weights of the text encoder and of the codec into 8 bits. Neither needs calibrating, and ComfyUI "
        "takes them off the GPU when they have done their work."
    )
    CATEGORY = "MGT/quantize"
    SEARCH_ALIASES = ["clip", "vae", "int8", "fp8", "memory", "compress"]
    RETURN_TYPES = (MGT_TEXT, MGT_CODEC)
    RETURN_NAMES = ("text_encoder", "codec")
    OUTPUT_TOOLTIPS = ("The text encoder in the format chosen.", "The codec in the format chosen.")
    FUNCTION = "quantize"
    RENAMED_INPUTS = RENAMED

    @classmethod
    def INPUT_TYPES(cls):
        kinds = ["none", "w8a16", "fp8"]
        meaning = " none leaves it; w8a16: 8-bit weights with a scale a row, the more exact; fp8: floating point."
        return {
            "required": {
                "codec": socket(MGT_CODEC, "The codec, from MGT Load Model."),
                "text_format": combo(kinds, "Format of the text encoder's weights." + meaning, "w8a16"),
                "codec_format": combo(kinds, "Format of the codec's weights." + meaning),
            },
            # Required in all but name: prompts of before have it under another one.
            "optional": {"text_encoder": socket(MGT_TEXT, "The text encoder, from MGT Load Model.")},
        }

    def quantize(self, codec, text_format: str, codec_format: str, text_encoder=UNWIRED):
        if text_encoder is UNWIRED:
            raise MGTError("text_encoder is not connected; expected the text encoder of MGT Load Model")
        small_text = mgt_core.quantize_text(text_encoder, text_format)
        small_codec = mgt_core.quantize_codec(codec, codec_format)
        return (
            text_encoder if small_text is text_encoder else host.place(small_text, "text"),
            codec if small_codec is codec else host.place(small_codec, "codec"),
        )


@node("MGT Save Model")
class MGTSaveModel:
    DESCRIPTION = (
        "Writes a model as a folder that MGT Load Model lists, quantized as it is. Attached patches are not part of it."
    )
    CATEGORY = "MGT/quantize"
    SEARCH_ALIASES = ["export", "checkpoint", "safetensors", "quantized"]
    RETURN_TYPES = (STRING,)
    RETURN_NAMES = ("folder",)
    OUTPUT_TOOLTIPS = ("The folder that was written.",)
    FUNCTION = "save"
    OUTPUT_NODE = True
    RENAMED_INPUTS = RENAMED
    written: ClassVar[set[Path]] = set()  # of this session, whose nodes the host need not run again

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "codec": socket(MGT_CODEC, "The codec that belongs to it, from MGT Load Model."),
                "name": ("STRING", {"default": "my-model", "tooltip": "Name of the new folder in models/mgt."}),
                "overwrite": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Replace a model of that name. Off, a name that is taken stops."},
                ),
            },
            "optional": {
                "text_encoder": socket(MGT_TEXT, "The text encoder that belongs to it; models of text need it.")
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, name=None, overwrite=None):
        """Before anything runs, since hours of calibration may come before the saving."""
        if name is None:  # what comes from another node is not known yet
            return True
        if (answer := judged(host.bundle_target, name)) is not True:
            return answer
        target = host.bundle_target(name)
        if overwrite is False and target.exists() and target not in cls.written:
            return f"name is {name!r}, and a model of that name is there already; choose another, or turn overwrite on"
        return True

    def save(self, model, codec, name: str, overwrite: bool, text_encoder=None):
        target = host.bundle_target(name)
        if text_encoder is None and "hidden" in model.network.condition_fields:
            raise MGTError("text_encoder is not connected; a model of text is saved with its text encoder")
        size = model.trained_size
        if size is None and model.makes == PICTURES:
            size = tuple(n * model.pixels_per_token for n in model.network.trained_grid)
        pipe = mgt_core.Pipeline(model, text_encoder, codec, size, target.name)
        folder: Path = mgt_core.save_bundle(pipe, target, overwrite)
        self.written.add(target)
        return reported(f"Saved in {folder}, which MGT Load Model lists after a refresh.", str(folder))
