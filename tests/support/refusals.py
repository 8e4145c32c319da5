"""One sentence for what cannot be done, and calls of a tiny model to get it."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import mgt_core

from .golden import bundles, pipeline

PIPE = pipeline(bundles()[0])  # downsampling layout: both sides of its grid are even
UNIT = PIPE.model.pixels_per_token * PIPE.model.grid_multiple
MASK, CODES = PIPE.model.mask_id, PIPE.model.codebook_size
WIDTHS = PIPE.model.network.condition_widths
LONGEST = 400  # characters, with a temporary path in them
NAN, INF = float("nan"), float("inf")


def condition(batch=1, length=4, **changes) -> mgt_core.Condition:
    fields = {"hidden": torch.ones(batch, length, WIDTHS["hidden"]), "pooled": torch.ones(batch, WIDTHS["pooled"])}
    return mgt_core.Condition(**fields | changes)


def state(batch=1, grid=(2, 4), **changes) -> mgt_core.TokenState:
    return replace(mgt_core.empty_state(batch, grid, MASK, CODES), **changes)


def sample(model=PIPE.model, tokens=None, positive=None, negative=None, **changes):
    return lambda: mgt_core.sample(
        model,
        state() if tokens is None else tokens,
        condition() if positive is None else positive,
        condition() if negative is None else negative,
        **{"steps": 2, "cfg": 3.0} | changes,
    )


def check(action: Callable[[], object], pieces: tuple[str, ...]) -> None:
    with pytest.raises(mgt_core.MGTError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and ". " not in message and not message.endswith("."), f"not one sentence: {message}"
    assert 10 < len(message) < LONGEST, f"{len(message)} characters: {message}"
    for piece in pieces:
        assert re.search(piece, message), f"{piece!r} is not in: {message}"
