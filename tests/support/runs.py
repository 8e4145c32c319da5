"""Short runs of a tiny model, their conditions and states."""

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st

import mgt_core

from .golden import bundles, pipeline

SAMPLERS = mgt_core.list_samplers()
GRID = (4, 6)
PIPE = pipeline(bundles()[0])
few = settings(max_examples=10, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
grids_of_bools = st.lists(st.booleans(), min_size=24, max_size=24).map(lambda v: torch.tensor(v).reshape(1, *GRID))
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)
KINDS = {name: mgt_core.SAMPLERS.get(name) for name in SAMPLERS}
STEPPED = [n for n, kind in KINDS.items() if kind().steps_made(5) == 5 and not kind.ends_early]  # as many as asked for
every_stepped_sampler = pytest.mark.parametrize("sampler", STEPPED)


def condition(pipe=PIPE, seed=0, batch=1, length=5) -> mgt_core.Condition:
    """A random condition of the widths that the model takes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    widths = pipe.model.network.condition_widths
    return mgt_core.Condition(
        hidden=torch.randn(batch, length, widths["hidden"], generator=generator),
        pooled=torch.randn(batch, widths["pooled"], generator=generator),
    )


POSITIVE, NEGATIVE = condition(seed=1), condition(seed=2)


def empty(grid=GRID, batch=1, pipe=PIPE) -> mgt_core.TokenState:
    return mgt_core.empty_state(batch, grid, pipe.model.mask_id, pipe.model.codebook_size)


def partial(known, fixed=None, seed=0) -> mgt_core.TokenState:
    """Random codes in the cells where `known` [B, H, W] holds, the others masked."""
    known = torch.as_tensor(known)
    codes = torch.randint(PIPE.model.codebook_size, known.shape, generator=torch.Generator().manual_seed(seed))
    tokens = torch.where(known, codes, PIPE.model.mask_id)
    fixed = known.clone() if fixed is None else torch.as_tensor(fixed)
    return mgt_core.TokenState(tokens, fixed, PIPE.model.mask_id, PIPE.model.codebook_size)


def run(state=None, positive=POSITIVE, negative=NEGATIVE, pipe=PIPE, **given_settings) -> mgt_core.TokenState:
    chosen = {"steps": 5, "cfg": 3.0, "seed": 7} | given_settings
    return mgt_core.sample(pipe.model, empty() if state is None else state, positive, negative, **chosen)


def steps_of(*args, **kwargs) -> tuple[mgt_core.TokenState, list[mgt_core.Step]]:
    seen = []
    return run(*args, callback=seen.append, **kwargs), seen
