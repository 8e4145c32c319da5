"""Nodes about models whose true distribution is known, so that a way to decode can be judged without an eye."""

import torch

from .. import mgt_core
from ..mgt_core.lab.choices import ERRORS, TRUTHS, lab_choice
from ..mgt_core.types import UNCONDITIONAL
from . import host
from .conditioning import LABELS
from .reported import reported
from .types import (
    CONDITIONING,
    IMAGE,
    MGT_MODEL,
    MGT_TOKENS,
    STRING,
    combo,
    integer,
    model_input,
    node,
    number,
    tokens_input,
)

LABEL = 0  # the class that is asked for


def conditioning(label: int) -> list:
    """CONDITIONING of a class, or of none."""
    labels = torch.tensor([label])
    hidden = (labels[:, None, None] + 1).to(host.intermediate_device(), torch.float32)
    return [[hidden, {"pooled_output": None, LABELS: labels}]]


@node("MGT Laboratory Model")
class MGTLaboratoryModel:
    DESCRIPTION = (
        "A model whose true distribution is known exactly, in place of a trained network: what differs from it in "
        "the end is the doing of the sampler, or of the error that you give the model."
    )
    CATEGORY = "MGT/laboratory"
    SEARCH_ALIASES = ["exact", "potts", "ising", "markov", "toy model", "ground truth", "research"]
    RETURN_TYPES = (MGT_MODEL, CONDITIONING, CONDITIONING, MGT_TOKENS)
    RETURN_NAMES = ("model", "positive", "negative", "tokens")
    OUTPUT_TOOLTIPS = (
        "The model, for MGT Sample, by way of any nodes that attach something to it, and for MGT Laboratory Report.",
        "The first of its classes.",
        "No class: the mixture of all of them.",
        "Token grids with every cell masked.",
    )
    FUNCTION = "make"
    SHOWN_FOR = {"error_size": {"error": [name for name in ERRORS if name != "none"]}}

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "truth": combo(
                    list(TRUTHS),
                    "What the pictures are drawn from. Potts field: neighbours like to agree, all 512 pictures are "
                    "counted; quadtree: patches in patches, at the size of a real model; code words: noisy copies of "
                    "a few patterns, so that whole pictures belong together; chain: a row of cells as sound is one, "
                    "each like the one before it.",
                ),
                "error": combo(
                    list(ERRORS),
                    "What is wrong with the model: nothing, noise on its logits, predictions that are too even, "
                    "blindness to far cells, or a class that it heeds too little.",
                ),
                "error_size": number(
                    "How large the error is, from 0 for none to 1 for the largest. No effect without an error.",
                    0.5,
                    0.0,
                    1.0,
                    0.05,
                ),
                "batch_size": integer(
                    "How many pictures are decoded at once: the more, the finer the differences that the report tells.",
                    256,
                    20,
                    65536,
                ),
            }
        }

    def make(self, truth: str, error: str, error_size: float, batch_size: int):
        model = lab_choice(truth, error, error_size)
        height, width = model.network.trained_grid
        tokens = mgt_core.empty_tokens(model, height=height, width=width, batch=batch_size)
        return model, conditioning(LABEL), conditioning(UNCONDITIONAL), tokens


@node("MGT Laboratory Report")
class MGTLaboratoryReport:
    DESCRIPTION = (
        "Compares what was decoded with the truth of an MGT Laboratory Model: pictures side by side, how often cells "
        "agree, and the distances with their intervals."
    )
    CATEGORY = "MGT/laboratory"
    SEARCH_ALIASES = ["total variation", "entropy", "statistics", "compare", "evaluate", "research"]
    RETURN_TYPES = (IMAGE, STRING)
    RETURN_NAMES = ("image", "text")
    OUTPUT_TOOLTIPS = (
        "Decoded pictures, exact ones, and how often cells agree by their distance.",
        "The figures, a line each, with 95 % intervals.",
    )
    FUNCTION = "report"
    HAS_INTERMEDIATE_OUTPUT = True  # newer hosts send its report again when it need not run

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "tokens": tokens_input("Tokens from MGT Sample, of the same model."),
            },
        }

    def report(self, model, tokens):
        from ..mgt_core.lab.sheet import sheet

        found = sheet(model, tokens, LABEL)
        return reported(found.text, found.image.to(host.intermediate_device()), found.text)
