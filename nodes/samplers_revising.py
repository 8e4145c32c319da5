"""Choices of samplers that revise what they have revealed, with one network."""

from .. import mgt_core
from .samplers import ConfidenceChoice
from .types import interval, node


@node("MGT ReMDM Sampler")
class MGTSamplerReMDM(ConfidenceChoice):
    DESCRIPTION = (
        "Remasking diffusion: at every step some of the known tokens are masked again by chance and as many more are "
        "revealed, so that later steps mend what earlier ones drew. One network call a step; use many steps."
    )
    SEARCH_ALIASES = ["remdm", "remasking", "inference-time scaling", "revise", "self-correction", "mdlm"]
    part = mgt_core.ReMDM
    rare = ("counts", "pace", "loop_known", "start", "end")
    tooltips = {
        "strategy": "How many known tokens come back a step. rescale: eta times as many as the schedule allows; cap: "
        "the share eta, if it allows that; conf: eta times one token, rather one drawn with a low probability, as "
        "released; rescale_conf: as many as rescale, rather such ones.",
        "eta": "How strongly it revises: 0 masks nothing again. The published 0.015 is for 1024 steps; fewer want "
        "more.",
        "reveal": "Which masked tokens are revealed. chance: any, as published; surest: those with the highest "
        "confidence, as MaskGIT has it, with its temperature.",
        "counts": "random: each token by its own chance, as published; schedule: exactly as many as the mask schedule "
        "leaves masked.",
        "pace": "schedule: the number of masked tokens follows the mask schedule. loop: from start to end it stays, "
        "and the schedule takes the time before and after; 0.45 and 0.95 as published.",
        "loop_known": "Share of the tokens that are known during the loop: 0.9 as published.",
        **interval("remasking"),
    }
    SHOWN_FOR = {
        "loop_known": {"pace": ("loop",)},
        **{f"temperature_{part}": {"reveal": ("surest",)} for part in ("start", "end", "shape")},
    }


@node("MGT Gibbs Corrector Sampler")
class MGTSamplerGibbs(ConfidenceChoice):
    DESCRIPTION = (
        "Predictor and corrector: after each step of MaskGIT masks some of the known tokens at random and draws them "
        "anew, given all others. As many stay masked. A network call more for every sweep."
    )
    SEARCH_ALIASES = ["gibbs", "corrector", "predictor-corrector", "resample", "revise", "mcmc"]
    part = mgt_core.GibbsCorrector
    tooltips = {
        "sweeps": "How often it corrects after every step, each time with a network call. 0 is MaskGIT.",
        "portion": "Share of the known tokens that a sweep draws anew. Those of one sweep do not see each other; 0 "
        "draws a single one, which is exact.",
        "pick": "chance: any known tokens; doubtful: rather those that were drawn with a low probability.",
        **interval("correcting"),
    }


@node("MGT Token Editing Sampler")
class MGTSamplerTokenEditing(ConfidenceChoice):
    DESCRIPTION = (
        "MaskGIT that also replaces known tokens where the network is sure of another one. It sharpens: pictures "
        "become likelier and more alike."
    )
    SEARCH_ALIASES = ["token editing", "llada", "block refinement", "editing threshold", "revise", "self-correction"]
    part = mgt_core.TokenEditing
    rare = ("rule", "start", "end")
    SHOWN_FOR = {"looked_at": {"view": ("masked",)}}
    tooltips = {
        "threshold": "How sure of another token the network must be, as a probability: 1 replaces nothing, which is "
        "MaskGIT.",
        "view": "masked: by a second network call, in which some known tokens are masked, as most models were "
        "trained; in place: by the call of the step, in which the network sees them, for models trained to correct.",
        "looked_at": "Share of the known tokens that are masked and judged a step.",
        "rule": "probability: that of the other token is above the threshold, as published; margin: it is above that "
        "of the old token by the threshold.",
        **interval("editing"),
    }
