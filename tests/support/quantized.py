"""A tiny pipeline quantized in each scheme, and what it makes."""

from dataclasses import replace
from functools import cache

import torch

import mgt_core
from mgt_core.quantization.calibration import CalibrationRun

from .golden import bundles, pipeline

RUN = CalibrationRun(steps=3, states=2, cfg=2.0, grid=(4, 4))
SCHEMES = mgt_core.list_quantizations()


def pipe() -> mgt_core.Pipeline:
    return pipeline(bundles()[0])


def conditions(count: int = 2):
    return pipe().text.encode(["a cat", "a dog"][:count]), pipe().text.encode([""] * count)


@cache
def quantized(scheme: str | mgt_core.Scheme = "w4a8"):
    return mgt_core.quantize(pipe().model, scheme, *conditions(), RUN)


def with_model(model: mgt_core.MGTModel) -> mgt_core.Pipeline:
    return replace(pipe(), model=model)


def tokens(of: mgt_core.Pipeline, batch: int = 2, **settings) -> torch.Tensor:
    model = of.model
    state = mgt_core.empty_state(batch, (4, 4), model.mask_id, model.codebook_size)
    chosen = {"steps": 3, "cfg": 2.0, "seed": 1} | settings
    return mgt_core.sample(model, state, of.text.encode("a cat"), of.text.encode(""), **chosen).tokens
