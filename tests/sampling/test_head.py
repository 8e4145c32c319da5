"""The token head is evaluated for masked cells only, and nothing but the time it takes changes."""

import pytest
import torch

import mgt_core
from bench.speed.rows import WholeTable
from mgt_core.sampling.guided import GuidedNetwork, GuidedRows
from support.device import agree
from support.golden import bundles, label, pipeline

STEPS = 6
GRID = (6, 8)
CELLS = GRID[0] * GRID[1]


class CountRows:
    """Rows that the network's head was given, per network call."""

    def __init__(self, monkeypatch, network):
        self.calls, head = [], network.head

        def spy(features):
            self.calls.append(features.shape[:-1].numel())
            return head(features)

        monkeypatch.setattr(network, "head", spy)


@pytest.fixture(params=bundles(), ids=label)
def pipe(request):
    return pipeline(request.param)


def sample(pipe, model=None, batch=1, cfg=3.0, known=0, callback=None):
    widths = pipe.model.network.condition_widths
    generator = torch.Generator().manual_seed(0)
    positive, negative = (
        mgt_core.Condition(
            hidden=torch.randn(1, 4, widths["hidden"], generator=generator),
            pooled=torch.randn(1, widths["pooled"], generator=generator),
        )
        for _ in range(2)
    )
    state = mgt_core.empty_state(batch, GRID, pipe.model.mask_id, pipe.model.codebook_size)
    state.tokens.flatten(1)[:, :known] = 1
    return mgt_core.sample(
        model or pipe.model, state, positive, negative, steps=STEPS, cfg=cfg, seed=3, callback=callback
    )


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("known", [0, 17])
def test_tokens_equal_those_of_the_full_head(pipe, cfg, known, monkeypatch):
    masked_only = sample(pipe, batch=2, cfg=cfg, known=known)
    whole_table = sample(pipe, pipe.model.with_modifier(WholeTable()), batch=2, cfg=cfg, known=known)
    evaluate = GuidedNetwork.evaluate

    def everywhere(self, tokens, timestep, cfg, positions, moment, second_pass):
        table = evaluate(self, tokens, timestep, cfg, None, moment, second_pass).rows()
        table = table.gather(1, positions[..., None].expand(-1, -1, table.shape[-1]))
        return GuidedRows(lambda logits: logits, {0: table}, positions, lambda tables, _: tables[0])

    monkeypatch.setattr(GuidedNetwork, "evaluate", everywhere)
    full = sample(pipe, batch=2, cfg=cfg, known=known)
    for other in (whole_table, full):
        assert agree(masked_only.tokens, other.tokens)
        assert agree(masked_only.revealed_at, other.revealed_at)
        torch.testing.assert_close(masked_only.confidence, other.confidence, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cfg, streams", [(0.0, 1), (1.0, 1), (3.0, 2)])
@pytest.mark.parametrize("known", [0, 17])
def test_head_sees_masked_cells_only(pipe, cfg, streams, known, monkeypatch):
    """The saving: rows evaluated over rows of the full head = masked cells over steps times cells."""
    masked = [CELLS - known, *mgt_core.SCHEDULES.get("cosine")().counts(STEPS, CELLS - known)[:-1]]
    with monkeypatch.context() as patch:
        rows = CountRows(patch, pipe.model.network)
        sample(pipe, cfg=cfg, known=known)
    assert rows.calls == [streams * count for count in masked]
    with monkeypatch.context() as patch:
        full = CountRows(patch, pipe.model.network)
        sample(pipe, pipe.model.with_modifier(WholeTable()), cfg=cfg, known=known)
    assert full.calls == [streams * CELLS] * STEPS
    assert sum(rows.calls) / sum(full.calls) == pytest.approx(sum(masked) / (STEPS * CELLS))


def test_cosine_run_saves_a_third_of_the_head():
    """Mean of the masked share over a long run from all masked tends to 2 / pi."""
    counts = mgt_core.SCHEDULES.get("cosine")().counts(48, 4096)
    assert sum([4096, *counts]) / (48 * 4096) == pytest.approx(0.637, abs=0.015)
