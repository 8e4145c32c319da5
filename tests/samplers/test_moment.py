"""The moment sampler: its law, that MaskGIT's approaches it, and what lies between them and other samplers."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import FixedOrder, MaskGIT, MGTError, MomentSampler
from mgt_core.lab.potts import Potts
from mgt_core.samplers.moment import Moments, power
from mgt_core.types import Step
from support import lab
from support.device import agree, equal
from support.fit import fit_p
from support.lab import FIELD, HOT, LEVEL, SURE, bias, marginals, sampled
from support.runs import GRID, empty, few, grids_of_bools, partial, run, steps_of

TEMPERATURES = [0.0, 1e-40, 1e-6, 0.1, 0.5, 1.0, 4.5, 1000.0]


def law(tables: torch.Tensor, temperature: float) -> torch.Tensor:
    """[N, V] of the cell chosen first and the code drawn there: p^beta over the sum of all. tables: [N, V] float64."""
    powered = tables ** (1 + 1 / temperature)
    return powered / powered.sum()


def maskgit_law(tables: torch.Tensor, temperature: float) -> torch.Tensor:
    """[N, V] the same of MaskGIT, over everything that it may draw: of the cells' codes x, cell i is kept first with
    probability p_i(x_i)^(1 / temperature) over their sum."""
    cells, codes = tables.shape
    grids = torch.tensor(list(itertools.product(range(codes), repeat=cells)))
    own = tables[torch.arange(cells), grids]  # [V^N, N] p_i(x_i)
    weights = own ** (1 / temperature)
    joint = own.prod(1, keepdim=True) * weights / weights.sum(1, keepdim=True)
    found = torch.zeros(cells, codes, dtype=torch.float64)
    for cell in range(cells):
        found[cell].scatter_add_(0, grids[:, cell], joint[:, cell])
    return found


def first_revealed(truth, sampler, batch=4096, steps=None):
    """[N * V] how often a code was the first to be revealed, in a cell."""
    seen = []
    chosen = {"schedule": "linear", "steps": steps or truth.cells, "callback": seen.append}
    sampled(truth, batch, sampler=sampler, **chosen)
    tokens = seen[0].result.tokens.flatten(1)
    (image, cell) = (tokens != truth.mask_id).nonzero(as_tuple=True)
    assert len(image) == batch
    return torch.bincount(cell * truth.codes + tokens[image, cell], minlength=truth.cells * truth.codes).double()


class TestLaw:
    @pytest.mark.parametrize("temperature", [0.3, 1.0, 4.5])
    def test_maskgit_approaches_it(self, temperature):
        """The more cells compete, the nearer: their distance falls as 1 / N."""
        rows = torch.tensor([[0.8, 0.2], [0.55, 0.45]], dtype=torch.float64)
        apart = []
        for cells in (2, 4, 8, 16):
            tables = rows.repeat(cells // 2, 1)
            apart.append(float((maskgit_law(tables, temperature) - law(tables, temperature)).abs().sum()) / 2)
        assert all(after < 0.62 * before for before, after in itertools.pairwise(apart))
        assert apart[-1] < 0.02
        # What it approaches is sharper than the tables, whatever the cell.
        sharp = law(rows, temperature)
        assert bool((sharp / sharp.sum(1, keepdim=True))[:, 0].gt(rows[:, 0]).all())

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_what_is_revealed_first_follows_it(self, temperature):
        tables = marginals(FIELD)
        found = first_revealed(FIELD, MomentSampler((temperature, temperature)))
        assert fit_p(found, law(tables, temperature).flatten()) > LEVEL
        assert fit_p(found, law(tables, 4 * temperature).flatten()) < SURE
        plain = first_revealed(FIELD, MomentSampler((temperature, temperature), sharpening=0.0))
        chosen = law(tables, temperature).sum(1, keepdim=True) * tables  # the same cells, codes as the model has them
        assert fit_p(plain, chosen.flatten()) > LEVEL

    def test_what_maskgit_reveals_first_follows_what_was_enumerated(self):
        temperature, tables = 0.5, marginals(FIELD)
        found = first_revealed(FIELD, MaskGIT((temperature, temperature)))
        assert fit_p(found, maskgit_law(tables, temperature).flatten()) > LEVEL
        assert fit_p(found, law(torch.full_like(tables, 0.5), 1.0).flatten()) < SURE

    def test_several_cells_are_chosen_one_after_the_other(self):
        """Gumbel-top-k: without replacement, each of those left in proportion to its moment."""
        truth = Potts((1, 3), codes=2, coupling=0.0, bias=2 * bias(cells=3))
        weights = law(marginals(truth), 0.7).sum(1)
        seen = []
        chosen = {"steps": 2, "schedule": mgt_core.CustomCurve(((0, 1), (0.5, 0.4), (1, 0))), "callback": seen.append}
        sampled(truth, 4096, sampler=MomentSampler((0.7, 0.7)), **chosen)
        masked = seen[0].result.tokens.flatten(1) == truth.mask_id
        assert bool((masked.sum(1) == 1).all())
        last = torch.zeros(3, dtype=torch.float64)
        for first, second, left in itertools.permutations(range(3)):
            last[left] += weights[first] * weights[second] / (1 - weights[first])
        assert fit_p(masked.sum(0).double(), last) > LEVEL

    def test_at_temperature_0_the_likeliest_code_of_the_surest_cell(self):
        tables = marginals(FIELD)
        found = first_revealed(FIELD, MomentSampler((0.0, 0.0)), batch=64)
        assert int(found.argmax()) == int(tables.argmax()) and int(found.max()) == 64


class TestMoments:
    @staticmethod
    def of(logits, temperature, sharpening=1.0, parts=1):
        """Scores [B, N] and what is drawn from [B, N, V], of a step that is not the last."""
        batch, cells, _ = logits.shape
        run = SimpleNamespace(temperatures=[temperature, temperature], confidence=torch.zeros(batch, cells))
        moments, out = Moments(run, sharpening), []
        for positions in torch.arange(cells).expand(batch, -1).chunk(parts, 1):
            step = Step(0, 2, torch.zeros(batch, 1, cells, dtype=torch.long), positions=positions)
            out.append(moments(logits[:, positions[0]], step))
        return moments.scores, torch.cat(out, 1)

    @few
    @given(st.integers(0, 2**31), st.sampled_from(TEMPERATURES), st.sampled_from([0.0, 0.3, 1.0]), st.integers(1, 5))
    def test_they_are_what_the_formula_says(self, seed, temperature, sharpening, parts):
        """In float64 from the probabilities, with codes that cannot be drawn, whatever rows come at once."""
        generator = torch.Generator().manual_seed(seed)
        logits = 4 * torch.randn(2, 5, 7, generator=generator) + 100 * torch.randn(2, 5, 1, generator=generator)
        logits[torch.rand(logits.shape, generator=generator) < 0.2] = -torch.inf
        logits[..., 0] = logits.amax(-1).clamp_min(0) + torch.rand(2, 5, generator=generator)
        scores, drawn_from = self.of(logits, temperature, sharpening, parts)
        log_p = logits.double().log_softmax(-1)
        if temperature < 1e-6:
            wanted, sharp = log_p.amax(-1), (log_p == log_p.amax(-1, keepdim=True)).double()
            sharp = sharp if sharpening else log_p.exp()
        else:
            beta = 1 + 1 / temperature
            wanted = temperature * (beta * log_p).logsumexp(-1)
            sharp = (log_p * (1 + sharpening / temperature)).softmax(-1)
        torch.testing.assert_close(scores.double(), wanted, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(drawn_from.double().softmax(-1), sharp, rtol=1e-3, atol=1e-4)

    def test_powers(self):
        assert [power(t) for t in (1.0, 2.0, 0.5)] == [2.0, 1.5, 3.0]
        assert power(0.0) == power(1e-300) == 1e30 and power(0.0, 0.0) == 1.0 and power(4.0, 0.5) == 1.125


class TestIdentities:
    @pytest.mark.parametrize("order", list(mgt_core.ORDERS))
    def test_a_single_step_is_maskgit_s(self, order):
        ours = run(empty(batch=2), sampler=MomentSampler((0.5, 0.5), order=order), steps=1)
        assert agree(ours.tokens, run(empty(batch=2), sampler=MaskGIT((0.5, 0.5)), steps=1).tokens)

    def test_so_hot_that_the_model_is_not_heard_it_is_maskgit(self):
        for seed in range(4):
            ours, theirs = (lab.run(FIELD, 8, sampler=s(HOT), steps=5, seed=seed) for s in (MomentSampler, MaskGIT))
            assert torch.equal(ours, theirs)

    @pytest.mark.parametrize("temperature", TEMPERATURES)
    def test_of_flat_predictions_it_is_maskgit(self, temperature):
        """Where every code is as likely there is nothing to be surer of."""
        flat = Potts((3, 3), codes=4, coupling=0.0)
        same = {"temperature": (temperature, temperature), "temperature_shape": "linear"}
        ours, theirs = (lab.run(flat, 8, sampler=s(**same), steps=4) for s in (MomentSampler, MaskGIT))
        assert torch.equal(ours, theirs)

    @pytest.mark.parametrize("order", ["halton", "raster"])
    def test_all_explored_in_an_order_it_is_that_order(self, order):
        sampler = MomentSampler(sharpening=0.0, exploration=1.0, order=order)
        ours, theirs = (run(empty(batch=2), sampler=s) for s in (sampler, FixedOrder(order, counts="schedule")))
        assert agree(ours.tokens, theirs.tokens) and agree(ours.revealed_at, theirs.revealed_at)


class TestExploration:
    @few
    @given(known=grids_of_bools, share=st.sampled_from([0.25, 0.5, 1.0]), order=st.sampled_from(["halton", "raster"]))
    def test_a_share_of_every_step_is_the_order_s(self, known, share, order):
        state, places = partial(known), mgt_core.ORDERS.get(order)(GRID, None)
        _, seen = steps_of(state, sampler=MomentSampler(exploration=share, order=order), steps=4)
        for step in seen:
            masked, after = step.tokens.flatten() == state.mask_id, step.result.masked.flatten()
            count = round(share * int(masked.sum() - after.sum()))
            explored = [cell for cell in places.tolist() if masked[cell]][:count]
            assert not after[explored].any()

    def test_a_random_order_is_another_for_every_image(self):
        sampler = MomentSampler(exploration=1.0, order="random")
        one, two = run(empty(batch=2), sampler=sampler).revealed_at
        assert not torch.equal(one, two)
        assert equal(two, run(sampler=sampler, seed=8).revealed_at[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sharpening": 1.5}, "moment sharpening is 1.5; accepted are numbers from 0 to 1"),
        ({"exploration": -0.1}, "moment exploration is -0.1; accepted are numbers from 0 to 1"),
        ({"temperature": (-1.0, 0.0)}, "temperature is -1.0; accepted are numbers from 0 to 1000"),
        ({"order": "spiral"}, "order is 'spiral', but the known ones are halton, random, raster"),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(MGTError) as told:
        MomentSampler(**settings)
    assert message in str(told.value) and "\n" not in str(told.value)
