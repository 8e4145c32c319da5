"""Rescoring: the mixture of two models, whatever else acts."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import GuidanceSchedule, Rescoring
from mgt_core.lab.backbone import lab_model
from mgt_core.lab.errors import LogitNoise, spoiled
from mgt_core.patches.rescoring import Mixture
from support.device import agree
from support.lab import FIELD, LARGE
from support.lab import run as lab_run
from support.loras import low_rank_pairs, save_peft
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, empty, few, partial, run, steps_of

MODEL = PIPE.model
SHARP = MODEL.with_modifier(mgt_core.TopKTopP(k=3))


def tokens(model=MODEL, **settings):
    return run(empty(batch=2), pipe=replace(PIPE, model=model), **settings).tokens


def rescored(weight=0.5, rescorer=SHARP, model=MODEL):
    return model.with_patch(Rescoring(rescorer, weight))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A fine-tune of the model."""
    pairs = low_rank_pairs(MODEL.network, seed=3)
    return MODEL.with_lora(save_peft(tmp_path_factory.mktemp("lora"), pairs, 4.0))


class Table:
    def __init__(self, values):
        self.values = values

    def rows(self, part=slice(None)):
        return self.values[:, part]


@few
@for_all(st.floats(0.01, 0.99), st.integers(0, 100), st.integers(2, 40), st.floats(0, 40))
def test_its_formula(weight, seed, codes, spread):
    """p = w p_2 + (1 - w) p_1, in float64; whatever part of the cells is asked for."""
    own, other = spread * torch.randn(2, 3, 5, codes, generator=torch.Generator().manual_seed(seed))
    mixed = Mixture(Table(own), Table(other), weight)
    wanted = weight * other.double().softmax(-1) + (1 - weight) * own.double().softmax(-1)
    torch.testing.assert_close(mixed.rows().double().softmax(-1), wanted, atol=1e-5, rtol=1e-4)
    assert torch.equal(mixed.rows(slice(1, 3)), mixed.rows()[:, 1:3])


@pytest.mark.parametrize("sampler", mgt_core.list_samplers())
def test_the_ends_are_the_two_models(adapted, sampler):
    """To the token, with every sampler; in between it is neither."""
    plain, other = tokens(sampler=sampler), tokens(adapted, sampler=sampler)
    assert torch.equal(tokens(rescored(0.0, adapted), sampler=sampler), plain)
    assert torch.equal(tokens(rescored(1.0, adapted), sampler=sampler), other)
    mixed = tokens(rescored(0.5, adapted), sampler=sampler)
    assert not torch.equal(mixed, plain) and not torch.equal(mixed, other)


def test_rescored_by_itself_it_is_itself():
    truth = LARGE["quadtree"]
    own = lab_run(truth, 16, steps=6, cfg=2.0)
    mixed = lab_run(truth, 16, steps=6, cfg=2.0, patched=lambda model: rescored(0.3, lab_model(truth), model))
    assert agree(mixed, own)
    table = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Mixture(Table(table), Table(table), 0.3).rows(), table.log_softmax(-1))


def test_each_is_guided_by_its_own_schedule():
    """Where the run's guidance is asked for; what a sampler asks for otherwise is for both."""
    seen = []

    def watched(name):
        model = lab_model(spoiled(LARGE["quadtree"], [LogitNoise(0.0)]))
        own = model.network.predictor.logits
        model.network.predictor.logits = lambda tokens, labels: seen.append((name, len(tokens))) or own(tokens, labels)
        return model

    first, second = watched("first"), watched("second")
    second = second.with_guidance(GuidanceSchedule(0.5, 1.0))
    state = mgt_core.empty_state(1, (8, 8), 5, 5)
    labels = [mgt_core.Condition(labels=torch.tensor([label])) for label in (0, -1)]
    mgt_core.sample(first.with_patch(Rescoring(second)), state, *labels, steps=4, cfg=3.0, sampler="maskgit")
    assert seen == [("first", 2), ("second", 1)] * 2 + [("first", 2), ("second", 2)] * 2


def test_a_rescorer_may_need_what_the_model_does_not():
    """The negative condition, for its guidance."""
    first = MODEL.with_guidance(GuidanceSchedule(0.5, 0.5))  # none at all
    assert not torch.equal(tokens(rescored(0.5, MODEL, first)), tokens(first))
    with pytest.raises(mgt_core.MGTError, match="which needs a negative condition"):
        run(pipe=replace(PIPE, model=rescored(0.5, MODEL, first)), negative=None)


def test_modifiers_of_the_model_act_on_the_mixture():
    """Only the likeliest code of the mixture can be drawn, wherever the modifier is wired."""
    greedy, seen = mgt_core.TopKTopP(k=1), []
    own, other = spoiled(FIELD, [LogitNoise(1.5, seed=1)]), spoiled(FIELD, [LogitNoise(1.5, seed=2)])
    for model in (
        rescored(0.6, lab_model(other), lab_model(own).with_modifier(greedy)),
        rescored(0.6, lab_model(other), lab_model(own)).with_modifier(greedy),
    ):
        blank = mgt_core.empty_state(1, FIELD.grid, FIELD.mask_id, FIELD.codes)
        label = mgt_core.Condition(labels=torch.tensor([0]))
        seen.append(mgt_core.sample(model, blank, label, steps=1, cfg=1.0, sampler="halton").tokens.flatten())
    cells, label = torch.full((1, 9), FIELD.mask_id), torch.zeros(1, dtype=torch.long)
    mean = 0.4 * own.logits(cells, label).softmax(-1) + 0.6 * other.logits(cells, label).softmax(-1)
    assert seen[0].tolist() == seen[1].tolist() == mean.argmax(-1)[0].tolist()


def test_calls_and_passes_count_both():
    for weight, factor in ((0.0, 1), (0.5, 2), (1.0, 2)):
        seen = steps_of(pipe=replace(PIPE, model=rescored(weight)))[1]
        assert (seen[-1].calls, seen[-1].passes) == (5 * factor, 10 * factor)
    three = rescored(0.5, rescored(0.5))
    assert steps_of(pipe=replace(PIPE, model=three))[1][-1].passes == 30


ATTACHED = {
    "token cache": lambda model: model.with_token_cache(0.5, every=2),
    "token merging": lambda model: model.with_token_merging(0.5),
    "step skipping": lambda model: model.with_step_skipping(2),
    "guidance reuse": lambda model: model.with_guidance_reuse(2),
    "CUDA graphs": lambda model: model.with_cuda_graphs(),
    "Self-Guidance": lambda model: model.with_self_guidance(mgt_core.fresh_branch(MODEL.network), 1.0),
    "packed weights": lambda model: mgt_core.quantize(model, "w8a16", POSITIVE, NEGATIVE).model,
}


@pytest.mark.parametrize("name", ATTACHED)
def test_either_has_patches_of_its_own(name):
    """Both the model's and the rescorer's act as they do alone: the ends show it."""
    changed = ATTACHED[name](MODEL)
    assert agree(tokens(rescored(1.0, changed)), tokens(changed))
    assert agree(tokens(rescored(0.0, SHARP, changed)), tokens(changed))
    for mixed in (rescored(0.5, changed), rescored(0.5, SHARP, changed), rescored(0.5, changed, changed)):
        assert tokens(mixed).max() < MODEL.codebook_size


def test_every_image_of_a_batch_is_its_own(adapted):
    known = torch.zeros(2, *GRID, dtype=torch.bool)
    known[1, :2] = True
    state, pipe = partial(known), replace(PIPE, model=rescored(0.5, adapted))
    whole = run(state, pipe=pipe)
    assert torch.equal(whole.tokens[known], state.tokens[known])
    one = mgt_core.TokenState(state.tokens[1:], state.fixed[1:], state.mask_id, state.codebook_size)
    assert agree(run(one, pipe=pipe, seed=8).tokens, whole.tokens[1:])


def test_conditions_of_parts_of_the_picture(adapted):
    upper = torch.zeros(1, *GRID)
    upper[:, :2] = 1
    parts = mgt_core.Conditions(
        (mgt_core.ConditionPart(POSITIVE, upper), mgt_core.ConditionPart(NEGATIVE, 1 - upper, 0.0, 0.6))
    )
    settings = {"positive": parts, "negative": NEGATIVE}
    assert torch.equal(
        run(pipe=replace(PIPE, model=rescored(1.0, adapted)), **settings).tokens,
        run(pipe=replace(PIPE, model=adapted), **settings).tokens,
    )


def test_it_takes_the_place_of_one_before_and_stays_out_of_files():
    twice = rescored(0.25, MODEL, rescored(0.75))
    assert [part.weight for part in twice.patches] == [0.25] and "rescoring" not in mgt_core.presets.attachments()
    assert MODEL.patches == () and twice.attached() == ["Rescoring(weight=0.25)"]


def test_a_rescorer_that_breaks_is_named():
    broken = replace(MODEL, network=copy.deepcopy(MODEL.network))
    name, weight = next((n, p) for n, p in broken.network.named_parameters() if p.ndim == 2)
    with torch.no_grad():
        weight.fill_(torch.nan)
    with pytest.raises(mgt_core.MGTError, match=f"are not finite; they first appear in the weights of {name}"):
        tokens(rescored(0.5, broken))


def test_two_weak_models_make_a_better_one():
    """Whose errors are their own: over all contexts the mixture's conditionals lie nearer to the truth's."""
    weak = [spoiled(FIELD, [LogitNoise(1.0, seed=seed)]) for seed in (3, 4)]
    grids, label = FIELD.every_grid(), torch.zeros(512, dtype=torch.long)
    own = FIELD.logits(grids, label).log_softmax(-1)

    def far(p):
        return float((own.exp() * (own - p.log())).sum(-1).mean())

    single = [each.logits(grids, label).softmax(-1) for each in weak]
    assert far((single[0] + single[1]) / 2) < 0.7 * min(map(far, single))
