"""A tiny editing model with references, as its tests have them."""

import torch

import mgt_core
from mgt_core import ReferencePicture

from .editmgt import own_pipeline
from .runs import condition

GRID = (8, 8)
PIPE = own_pipeline()
MODEL, NETWORK = PIPE.model, PIPE.model.network
POSITIVE, NEGATIVE = (condition(PIPE, seed, batch=2) for seed in (1, 2))


def codes(count=2, grid=GRID, seed=3):
    return torch.randint(NETWORK.codebook_size, (count, *grid), generator=torch.Generator().manual_seed(seed))


TOKENS = codes()
PATCH = ReferencePicture(TOKENS, 1.1)


def empty(batch=2):
    return mgt_core.empty_state(batch, GRID, NETWORK.mask_id, NETWORK.codebook_size)


def tokens(model=MODEL, state=None, positive=POSITIVE, negative=NEGATIVE, seed=4, **settings):
    chosen = {"steps": 4, "cfg": 3.0, "sampler": mgt_core.MaskGIT((2.0, 0.0)), **settings}
    return mgt_core.sample(model, state or empty(), positive, negative, seed=seed, **chosen).tokens


MASKED = codes(seed=9).masked_fill(torch.rand(2, *GRID, generator=torch.Generator().manual_seed(1)) < 0.5, 47)
