"""Sampler choices, and the node that runs one."""

from dataclasses import replace

from .. import mgt_core
from ..mgt_core.samplers.fixed_order import SHARPNESS
from ..mgt_core.samplers.temperature import TEMPERATURE_SHAPES
from ..mgt_core.sampling.cost import step_note
from ..mgt_core.types import PICTURES
from . import host
from .conditioning import condition_from
from .preview import RunView
from .types import (
    INT,
    MGT_SAMPLER,
    MGT_SCHEDULE,
    MGT_TOKENS,
    PartChoice,
    advanced,
    cfg_input,
    chosen,
    combo,
    conditioning_input,
    folded,
    interval,
    model_input,
    node,
    number,
    seed_input,
    setting_input,
    socket,
    steps_input,
    switch,
    temperature_inputs,
    tokens_input,
)

AUTOMATIC = -1.0  # of widgets of numbers from 0 on: as the model recommends


class SamplerChoice(PartChoice):
    """What sampler nodes share."""

    CATEGORY = "MGT/samplers"
    RETURN_TYPES = (MGT_SAMPLER,)
    RETURN_NAMES = ("sampler",)
    OUTPUT_TOOLTIPS = ("The sampler, for MGT Sample.",)


class ConfidenceChoice(SamplerChoice):
    """Of a sampler that keeps what it is surest of: its temperature comes first."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {**temperature_inputs(list(TEMPERATURE_SHAPES)), **super().INPUT_TYPES()["required"]}}

    def make(self, temperature_start: float, temperature_end: float, **settings):
        temperature = chosen(temperature_start, AUTOMATIC), chosen(temperature_end, AUTOMATIC)
        return super().make(temperature=temperature, **settings)


@node("MGT MaskGIT Sampler")
class MGTSamplerMaskGIT(ConfidenceChoice):
    DESCRIPTION = (
        "The original parallel decoding: each step draws every masked token, keeps those it is surest of "
        "and masks the rest again."
    )
    SEARCH_ALIASES = ["maskgit", "parallel decoding", "vanilla", "temperature"]
    part = mgt_core.MaskGIT

    @classmethod
    def INPUT_TYPES(cls):
        known = number(
            "Log-probability that tokens known already count with against new ones, so that a hot temperature may mask "
            "some of them again: 88.72 in the released MaskGIT codes; 10000 keeps them for good. -1: as the model "
            "recommends where temperature_start is -1 too (88.72 for UnlockMGM's), else kept for good.",
            AUTOMATIC,
            AUTOMATIC,
            10000.0,
        )
        drawn = number(
            "Temperature that tokens themselves are drawn at: 1 as the model predicts, below 1 likelier ones, 0 the "
            "likeliest. -1: as the model recommends, which is 1, and for Lumina-DiMOO the temperature above.",
            AUTOMATIC,
            AUTOMATIC,
            10.0,
            0.05,
        )
        later = {"known_confidence": advanced(known), "draw_temperature": advanced(drawn)}  # saved prompts lack them
        return {**super().INPUT_TYPES(), "optional": later}

    def make(
        self,
        temperature_start: float,
        temperature_end: float,
        known_confidence: float = AUTOMATIC,
        draw_temperature: float = AUTOMATIC,
        **settings,
    ):
        known, drawn = chosen(known_confidence, AUTOMATIC), chosen(draw_temperature, AUTOMATIC)
        settings |= {"known_confidence": known, "draw_temperature": drawn}
        return super().make(temperature_start, temperature_end, **settings)


@node("MGT Masked Z-Sampling Sampler")
class MGTSamplerMaskedZ(ConfidenceChoice):
    DESCRIPTION = (
        "Zigzag: after each step goes back one, redraws with weak guidance the tokens the model is surest of, "
        "and takes the step again. Three network calls a step instead of one."
    )
    SEARCH_ALIASES = ["z-sampling", "zigzag", "masked z-sampling", "bag of tricks", "self-correction"]
    part = mgt_core.MaskedZSampling
    tooltips = {
        "inversion_cfg": "Guidance on the way back. The gap to the cfg of MGT Sample is what strengthens the prompt: "
        "0, as the authors show it, or 1, which uses the prompt alone.",
        "candidates": "Share of the paper's number of filled cells that may be redrawn on the way back: "
        "1 as published, less goes back less far, and 0 redraws nothing.",
        **interval("the zigzag"),
    }


@node("MGT Z-Sampling Sampler")
class MGTSamplerZ(ConfidenceChoice):
    DESCRIPTION = (
        "Plain zigzag: after each step masks tokens again at random and takes the step once more. "
        "Two network calls a step; the baseline of Masked Z-Sampling."
    )
    SEARCH_ALIASES = ["z-sampling", "zigzag", "resample"]
    part = mgt_core.ZSampling
    tooltips = interval("the zigzag")


@node("MGT Momentum Sampler")
class MGTSamplerMomentum(ConfidenceChoice):
    EXPERIMENTAL = True
    DESCRIPTION = (
        "MaskGIT on predictions extrapolated from the step before, as multistep solvers of diffusion do. "
        "Experimental: the paper that studied it found no gain."
    )
    SEARCH_ALIASES = ["momentum", "multistep", "adams-bashforth", "extrapolation", "dpm solver"]
    part = mgt_core.Momentum
    tooltips = {
        "momentum": "How much of the change since the step before is added once more: 0.5 is the two-step "
        "Adams-Bashforth rule, 0 is MaskGIT, below 0 averages with the step before.",
    }

    @classmethod
    def INPUT_TYPES(cls):
        rule = setting_input(
            cls.part,
            "rule",
            "What is extrapolated: logits; probabilities, negative ones left out; trapezoidal, the same in every "
            "second step alone, as the theta-trapezoidal solver does, whose momentum is 1 for theta 0.5.",
        )
        later = {"rule": advanced(rule)}  # prompts saved before lack it
        return {**super().INPUT_TYPES(), "optional": later}


@node("MGT Halton Sampler")
class MGTSamplerHalton(SamplerChoice):
    DESCRIPTION = (
        "Reveals tokens in an order fixed beforehand instead of by confidence: spread evenly over the picture "
        "(Halton), at random, or row by row."
    )
    SEARCH_ALIASES = ["halton", "order", "low discrepancy", "quasi random", "raster", "random order"]
    part = mgt_core.FixedOrder
    rare = ("sharpness_start", "sharpness_end", "sharpness_power")

    @classmethod
    def INPUT_TYPES(cls):
        widgets = {
            "order": combo(
                list(mgt_core.ORDERS),
                "halton: each new token lies far from those before it; random: anywhere; raster: row by row "
                "from the top left.",
                default="halton",
            ),
            "counts": setting_input(
                cls.part,
                "counts",
                "How many tokens a step reveals: arccos, few at first and many at the end, as published; "
                "schedule, what the mask schedule of MGT Sample says, which arccos does not look at.",
            ),
            "roll": switch("Start at a random place of the order, another one for every image."),
            "sharpness_start": number(
                "Factor on the logits at the first step: above 1 draws likelier tokens, below 1 freer ones.",
                1.0,
                *SHARPNESS,
            ),
            "sharpness_end": number("The same at the last step; in between on a straight line.", 1.0, *SHARPNESS),
            "sharpness_power": setting_input(cls.part, "power", "Power that the factor is raised to."),
            "warmup": setting_input(cls.part, "warmup", "How many of the first steps take half of the factor."),
        }
        return {"required": folded(widgets, cls.rare)}

    def make(self, sharpness_start: float, sharpness_end: float, sharpness_power: float, **settings):
        return super().make(sharpness=(sharpness_start, sharpness_end), power=sharpness_power, **settings)


@node("MGT One-Step Sampler")
class MGTSamplerOneStep(SamplerChoice):
    DESCRIPTION = (
        "All tokens in one network call, from random ones: for models distilled to do so (Di[M]O). "
        "Use steps 1 and cfg 1; models that were not distilled give poor pictures."
    )
    SEARCH_ALIASES = ["one step", "dimo", "di[m]o", "distilled", "turbo", "single step"]
    part = mgt_core.OneStep
    tooltips = {
        "masked": "Share of the tokens that start masked; the others start as random codes. 0.6 for Di[M]O.",
        "noise": "Noise mixed into the token embeddings, which makes seeds differ more. 0.1 for Di[M]O.",
        "softmax_temperature": "What the logits are divided by before tokens are drawn: above 1 more varied, below 1 "
        "surer. Di[M]O's script takes 1, its authors' notes on benchmarks 1.2.",
    }
    rare = later = ("softmax_temperature",)


@node("MGT Sample")
class MGTSample:
    DESCRIPTION = "Fills in the masked tokens step by step: the picture appears in the preview as it is decided."
    CATEGORY = "MGT/sampling"
    SEARCH_ALIASES = ["ksampler", "generate", "maskgit", "sampler for meissonic", "text to image"]
    RETURN_TYPES = (MGT_TOKENS, INT, INT)
    RETURN_NAMES = ("tokens", "calls", "passes")
    OUTPUT_TOOLTIPS = (
        "Token grids with every cell filled, for MGT Decode.",
        "How often the network was evaluated. A step with guidance evaluates both prompts in one call.",
        "The same with a guided call counted as two, which is what it costs: compare settings at equal passes.",
    )
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "positive": conditioning_input("What the image should show or the sound be, from MGT Text Encode."),
                "negative": conditioning_input(
                    "What to steer away from; an empty prompt for plain guidance. With cfg 1 only samplers and "
                    "patches with a guidance of their own look at it."
                ),
                "tokens": tokens_input("The token grids to fill; cells that hold a token already are kept."),
                "seed": seed_input(),
                "steps": steps_input(),
                "cfg": cfg_input(),
            },
            "optional": {
                "schedule": socket(
                    MGT_SCHEDULE,
                    "How many tokens stay masked after each step, from MGT Mask Schedule. Unwired: as the model "
                    "recommends, linear for inpainting and outpainting, as their authors have it.",
                ),
                "sampler": socket(
                    MGT_SAMPLER,
                    "How tokens are drawn and which are kept, from one of the sampler nodes. Unwired: as the model "
                    "recommends.",
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def sample(
        self,
        model,
        positive,
        negative,
        tokens,
        seed,
        steps,
        cfg,
        schedule=None,
        sampler=None,
        unique_id=None,
        extra_pnginfo=None,
    ):
        unit = model.pixels_per_token
        size = tuple(side * unit for side in tokens.grid) if model.makes == PICTURES else None
        run = mgt_core.settle(
            model,
            tokens,
            sampler=sampler,
            schedule=schedule,
            steps=chosen(steps, 0),
            cfg=chosen(cfg, AUTOMATIC),
        )
        settings = {"seed": seed, **run.values()}
        note_in_metadata(extra_pnginfo, unique_id, settings)
        conditions = condition_from(positive, "positive", size, unit), condition_from(negative, "negative", size, unit)
        if note := step_note(model, tokens, *conditions, model.guidances(run.cfg, run.steps)):
            host.show_text(note, unique_id)
        view = RunView(run.steps, unique_id, model)
        filled = mgt_core.sample(
            decoding_beside(model),
            tokens,
            *conditions,
            sampler=run.sampler,
            schedule=run.schedule,
            steps=run.steps,
            cfg=run.cfg,
            seed=seed,
            callback=view,
        )
        if view.note:
            host.show_text(view.note, unique_id)
            note_in_metadata(extra_pnginfo, unique_id, {**settings, "told": view.note})
        return filled.to(host.intermediate_device()), view.calls, view.passes


def decoding_beside(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    """The model, whose samplers may decode in the middle of a run."""
    return model if model.codec is None else replace(model, codec=host.beside(model.codec, model))


def note_in_metadata(extra: dict | None, node_id: str | None, settings: dict) -> None:
    """The settings that a run really had, into what saving nodes write into a picture beside the workflow; nothing
    where a prompt came without one. extra: one of a kind a prompt, which all its nodes are handed."""
    if isinstance(extra, dict):
        extra.setdefault("mgt_settings", {})[str(node_id)] = settings
