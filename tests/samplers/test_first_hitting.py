"""First-hitting: times, what is revealed at them, and the evaluations that this takes."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import FirstHitting, MaskGIT, MGTError
from mgt_core.lab.potts import Potts
from mgt_core.samplers.first_hitting import gathered, hitting_levels, steps_of
from mgt_core.schedules.closed_form import Cosine
from support import lab
from support.device import agree
from support.lab import FIELD, LEVEL, SURE, bias, p_of, sampled
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, few, partial, run
from support.runs import steps_of as steps_seen

CELLS = GRID[0] * GRID[1]
TINY = Potts((2, 2), codes=2, coupling=1.5, bias=bias(cells=4))
uniforms = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30)
schedules = st.sampled_from(mgt_core.list_schedules())


def gamma_of(schedule: str, steps: int, total: int = CELLS) -> list[float]:
    """At the end of every step."""
    family = mgt_core.SCHEDULES.get(schedule)().for_tokens(total)
    return [float(family.ratio((k + 1) / steps)) for k in range(steps)]


# Times


@few
@given(uniforms)
def test_levels_are_the_recursion_of_the_paper(values):
    """1 - alpha(t_(n-1)) = (1 - alpha(t_n)) u^(1/n), from all cells on."""
    levels, now = hitting_levels(torch.tensor(values, dtype=torch.float64)), 1.0
    for masked, value, level in zip(range(len(values), 0, -1), values, levels.tolist(), strict=True):
        now *= (1 - value) ** (1 / masked)
        assert level == pytest.approx(now, rel=1e-9, abs=1e-300)


def test_levels_are_the_order_statistics_of_times_of_their_own():
    """Each cell's is even on [0, 1): the j-th largest of n has mean (n + 1 - j) / (n + 1)."""
    n, runs = 7, 20_000
    generator = torch.Generator().manual_seed(0)
    levels = torch.stack([hitting_levels(torch.rand(n, dtype=torch.float64, generator=generator)) for _ in range(runs)])
    j = torch.arange(1, n + 1)
    mean = (n + 1 - j) / (n + 1)
    error = (mean * (1 - mean) / (n + 2) / runs).sqrt()
    assert bool(((levels.mean(0) - mean).abs() < 4 * error).all())
    # And any cell's own time is even: Kolmogorov and Smirnov, p < 0.001.
    own = levels.gather(1, torch.randint(n, (runs, 1), generator=generator))[:, 0].sort().values
    assert float((own - torch.linspace(0, 1, runs)).abs().max()) < 1.95 / runs**0.5


@few
@given(uniforms, schedules, st.integers(1, 40))
def test_a_time_lies_in_the_step_that_passes_it(values, schedule, steps):
    levels, gamma = hitting_levels(torch.tensor(values, dtype=torch.float64)), gamma_of(schedule, steps)
    found = steps_of(levels, torch.tensor(gamma, dtype=torch.float64)).tolist()
    for level, step in zip(levels.tolist(), found, strict=True):
        assert gamma[step] <= level and (step == 0 or level < gamma[step - 1])
    assert found == sorted(found)


@few
@given(st.lists(st.integers(0, 9), max_size=30).map(sorted), st.integers(0, 7))
def test_evaluations_reveal_every_cell_once(steps, tokens):
    plan = gathered(steps, tokens)
    sizes = [count for step in sorted(plan) for count in plan[step]]
    assert sum(sizes) == len(steps) and all(sizes)
    if tokens:
        assert sizes[:-1] == [tokens] * (len(sizes) - 1) and len(sizes) == -(-len(steps) // tokens)
    else:
        assert plan == {step: [steps.count(step)] for step in set(steps)}
    first = 0  # an evaluation is made at the time of the first cell that it reveals
    for step in sorted(plan):
        for count in plan[step]:
            assert steps[first] == step
            first += count


@pytest.mark.parametrize("strength", [None, 0.6])
@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_cells_are_revealed_when_their_times_come(strength, schedule):
    """Recomputed from the seeds: a number a cell for its code, one for its place, one for a time."""
    steps, seeds = 12, (7, 8)
    known = torch.zeros(2, *GRID, dtype=torch.bool)
    if strength is None:
        known[1, :2] = True
    state = partial(known)
    if strength is not None:
        tokens = torch.arange(2 * CELLS).reshape(2, *GRID) % state.codebook_size
        state = mgt_core.TokenState(tokens, known, state.mask_id, state.codebook_size, strength=strength)
    out, seen = steps_seen(state, sampler=FirstHitting(), steps=steps, schedule=schedule, seed=7)
    first = state.first_step(steps)
    gamma, masked = None, (seen[0].tokens == state.mask_id).flatten(1).sum(1).tolist()
    for image, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        torch.rand(CELLS * (3 if first else 2), generator=generator, dtype=torch.float64)
        uniform = torch.rand(CELLS, generator=generator, dtype=torch.float64)[: masked[image]]
        gamma = gamma_of(schedule, steps, int(state.to_fill[image].sum()))
        level, wanted = (gamma[first - 1] if first else 1.0), []
        for left, value in zip(range(masked[image], 0, -1), uniform.tolist(), strict=True):
            level *= (1 - value) ** (1 / left)
            wanted.append(next(k for k in range(first, steps) if gamma[k] <= level))
        revealed = out.revealed_at[image].flatten()
        assert sorted(revealed[revealed >= 0].tolist()) == wanted


# What is drawn


def ancestral(truth: Potts, gammas: list[float]) -> torch.Tensor:
    """p [V^N] of what the ancestral sampler draws: every masked cell by itself stays masked in a step from gamma to
    gamma' with probability gamma' / gamma."""
    mask, law = truth.mask_id, {(truth.mask_id,) * truth.cells: 1.0}
    for before, after in zip([1.0, *gammas], gammas, strict=False):
        stays, following = after / before, {}
        for grid, p in law.items():
            own = truth.logits(torch.tensor([grid]), torch.tensor([0]))[0].double().softmax(-1).tolist()
            choices = [
                [(code, 1.0)]
                if code != mask
                else [(mask, stays), *((c, (1 - stays) * q) for c, q in enumerate(own[cell]))]
                for cell, code in enumerate(grid)
            ]
            for chosen in itertools.product(*choices):
                q = p
                for _, share in chosen:
                    q *= share
                if q:
                    key = tuple(code for code, _ in chosen)
                    following[key] = following.get(key, 0.0) + q
        law = following
    out = torch.zeros(truth.states, dtype=torch.float64)
    for grid, p in law.items():
        out[truth.number_of(torch.tensor([grid]))] += p
    return out


@pytest.mark.parametrize(("steps", "schedule"), [(2, "cosine"), (5, "root")])
def test_a_grid_in_time_is_the_ancestral_sampler(schedule, steps):
    wanted = ancestral(TINY, gamma_of(schedule, steps, 4))
    assert wanted.sum() == pytest.approx(1)
    drawn = lab.run(TINY, steps=steps, schedule=schedule, sampler=FirstHitting())
    assert p_of(TINY, drawn, wanted) > LEVEL
    assert p_of(TINY, drawn) < SURE  # the truth is another law


def test_one_token_an_evaluation_is_exact_whatever_the_steps():
    assert p_of(FIELD, lab.run(FIELD, 2048, steps=3, sampler=FirstHitting(1))) > LEVEL
    assert p_of(FIELD, lab.run(FIELD, 2048, steps=1, sampler=FirstHitting(3))) < SURE


def test_a_fine_grid_is_one_token_an_evaluation():
    """To the token: a model that is not told the time sees the same."""
    for seed in range(3):
        fine = lab.run(FIELD, 4, steps=10_000, schedule="linear", sampler=FirstHitting(), seed=10 * seed)
        single = lab.run(FIELD, 4, steps=2, schedule="cosine", sampler=FirstHitting(1), seed=10 * seed)
        assert torch.equal(fine, single)


@pytest.mark.parametrize("tokens", [0, CELLS, 1000])
def test_a_single_step_is_maskgit_s(tokens):
    """To the token."""
    ours, theirs = (run(empty(batch=2), sampler=s, steps=1) for s in (FirstHitting(tokens), MaskGIT()))
    assert agree(ours.tokens, theirs.tokens) and agree(ours.confidence, theirs.confidence)


# What it costs


def test_empty_steps_cost_no_evaluation():
    """Of a picture by itself as many are made as there are steps that its times fall into."""
    for seed in range(3):
        seen = []
        out = sampled(FIELD, 1, steps=40, schedule="linear", sampler=FirstHitting(), seed=seed, callback=seen.append)
        made = out.revealed_at.unique().tolist()
        assert [step.index for step in seen] == sorted({*made, 39}) and seen[-1].calls == len(made) < 10
        assert (seen[-1].total, seen[-1].progress) == (40, 1.0)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_how_many_evaluations_are_made(schedule):
    """On the mean sum of 1 - (1 - gamma + gamma')^n over the steps, n cells: 8.15 of 40 in the linear schedule."""
    steps, batch = 40, 500
    revealed_at = sampled(FIELD, batch, steps=steps, schedule=schedule, sampler=FirstHitting()).revealed_at.flatten(1)
    made = torch.tensor([len(row.unique()) for row in revealed_at]).double()
    gammas = [1.0, *gamma_of(schedule, steps, 9)]
    expected = sum(1 - (1 - before + after) ** 9 for before, after in zip(gammas, gammas[1:], strict=False))
    assert abs(float(made.mean()) - expected) < 4 * float(made.std()) / batch**0.5 and expected < 8.2


@pytest.mark.parametrize("steps", [1, 6, 500])
@pytest.mark.parametrize("tokens", [1, 5, 24])
def test_so_many_tokens_an_evaluation_whatever_the_steps(tokens, steps):
    _, seen = steps_seen(sampler=FirstHitting(tokens), steps=steps, schedule="cosine")
    assert seen[-1].calls == -(-CELLS // tokens) and seen[-1].index == steps - 1
    left = [CELLS, *(int(step.result.masked.sum()) for step in seen)]
    revealed = [before - after for before, after in zip(left, left[1:], strict=False) if before != after]
    assert revealed == [tokens] * (CELLS // tokens) + [CELLS % tokens] * bool(CELLS % tokens)


# Batches


@pytest.mark.parametrize("tokens", [0, 1, 5])
@pytest.mark.parametrize("noisy", [False, True])
def test_every_image_has_its_own_times(tokens, noisy):
    """Though a batch evaluates steps that not all of its images need."""
    model = PIPE.model.with_guidance(mgt_core.patches.guidance_schedule.GuidanceSchedule(0.2, 0.7))
    if noisy:
        model = model.with_modifier(mgt_core.NoiseRegularization(1.0, "constant"))
    state = partial(torch.stack([torch.arange(CELLS).reshape(GRID) % d == 0 for d in (3, 50, 2)]))
    positive, negative = condition(seed=3, batch=3), condition(seed=4, batch=3)
    chosen = {"sampler": FirstHitting(tokens), "steps": 40, "cfg": 3.0}
    together = mgt_core.sample(model, state, positive, negative, seed=40, **chosen)
    for i in range(3):
        one = mgt_core.TokenState(state.tokens[i : i + 1], state.fixed[i : i + 1], state.mask_id, state.codebook_size)
        own = [mgt_core.Condition(hidden=c.hidden[i : i + 1], pooled=c.pooled[i : i + 1]) for c in (positive, negative)]
        alone = mgt_core.sample(model, one, *own, seed=40 + i, **chosen)
        assert agree(alone.tokens[0], together.tokens[i]) and agree(alone.revealed_at[0], together.revealed_at[i])


def test_the_schedule_of_a_run_is_no_setting():
    """The same sampler may run with any, one after the other."""
    sampler = FirstHitting()
    first = run(sampler=sampler, schedule="cosine")
    assert not torch.equal(first.revealed_at, run(sampler=sampler, schedule="root").revealed_at)
    assert torch.equal(first.tokens, run(sampler=sampler, schedule=Cosine()).tokens) and sampler.gammas is None


def test_recorded_draws_are_taken_as_they_come():
    """Of a source that knows nothing of single cells."""

    class Likeliest:
        def __init__(self, generators, cells):
            pass

        def categorical(self, logits, step):
            return logits.argmax(-1)

        def gumbel(self, step):
            return torch.arange(9.0).expand(2, 9)

    out = sampled(FIELD, 2, sampler=FirstHitting(1, draws=Likeliest), steps=1000, schedule="linear")
    for revealed_at in out.revealed_at.flatten(1).tolist():
        assert revealed_at == sorted(revealed_at, reverse=True)


@pytest.mark.parametrize("value", [-1, 1.5, "all", None])
def test_bad_settings_are_one_sentence(value):
    with pytest.raises(MGTError, match="^first-hitting tokens is .*; accepted are whole numbers from 0 to 100000$"):
        FirstHitting(value)


def test_conditions_are_those_of_a_run():
    out = mgt_core.sample(PIPE.model, empty(), POSITIVE, NEGATIVE, sampler="first_hitting", tokens=3, steps=4)
    assert not out.masked.any()
