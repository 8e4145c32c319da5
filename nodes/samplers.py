"""Sampler choices, and the node that runs one."""

from .. import mgt_core
from . import host
from .conditioning import condition_from
from .preview import RunView
from .types import (
    MGT_SAMPLER,
    MGT_SCHEDULE,
    MGT_TOKENS,
    cfg_input,
    conditioning_input,
    model_input,
    node,
    seed_input,
    socket,
    steps_input,
    temperature_input,
    tokens_input,
)


@node("MGT MaskGIT Sampler")
class MGTSamplerMaskGIT:
    DESCRIPTION = (
        "The original parallel decoding: each step draws every masked token, keeps those it is surest of "
        "and masks the rest again."
    )
    CATEGORY = "MGT/samplers"
    SEARCH_ALIASES = ["maskgit", "parallel decoding", "vanilla", "temperature"]
    RETURN_TYPES = (MGT_SAMPLER,)
    RETURN_NAMES = ("sampler",)
    OUTPUT_TOOLTIPS = ("The sampler, for MGT Sample.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "temperature_start": temperature_input("start", 2.0),
                "temperature_end": temperature_input("end", 0.0),
            }
        }

    def make(self, temperature_start: float, temperature_end: float):
        return (mgt_core.MaskGIT(temperature=(temperature_start, temperature_end)),)


@node("MGT Sample")
class MGTSample:
    DESCRIPTION = "Fills in the masked tokens step by step: the picture appears in the preview as it is decided."
    CATEGORY = "MGT/sampling"
    SEARCH_ALIASES = ["ksampler", "generate", "maskgit", "meissonic", "text to image"]
    RETURN_TYPES = (MGT_TOKENS,)
    RETURN_NAMES = ("tokens",)
    OUTPUT_TOOLTIPS = ("Token grids with every cell filled, for MGT Decode.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "positive": conditioning_input("What the image should show, from MGT Text Encode."),
                "negative": conditioning_input(
                    "What to steer away from; an empty prompt for plain guidance. Unused when cfg is 1."
                ),
                "tokens": tokens_input("The token grids to fill; cells that hold a token already are kept."),
                "schedule": socket(
                    MGT_SCHEDULE, "How many tokens stay masked after each step, from MGT Mask Schedule."
                ),
                "sampler": socket(
                    MGT_SAMPLER, "How tokens are drawn and which are kept, from one of the sampler nodes."
                ),
                "seed": seed_input(),
                "steps": steps_input(),
                "cfg": cfg_input(),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(self, model, positive, negative, tokens, schedule, sampler, seed, steps, cfg, unique_id=None):
        size = tuple(side * model.pixels_per_token for side in tokens.grid)
        filled = mgt_core.sample(
            model,
            tokens,
            condition_from(positive, "positive", size),
            condition_from(negative, "negative", size),
            sampler=sampler,
            schedule=schedule,
            steps=steps,
            cfg=cfg,
            seed=seed,
            callback=RunView(steps, unique_id, model),
        )
        return (filled.to(host.intermediate_device()),)
