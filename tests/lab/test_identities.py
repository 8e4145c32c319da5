"""What must hold whatever the truth: with an exact model some ways to decode are exact, and others have a known law."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core import (
    MODIFIERS,
    PATCHES,
    SAMPLERS,
    FirstHitting,
    FixedOrder,
    MaskGIT,
    MomentSampler,
    PathPlanning,
    Rescoring,
)
from mgt_core.lab.backbone import all_masked, given, lab_model
from mgt_core.lab.branch import LabBranch
from mgt_core.lab.errors import Reach, Smoothed, WeakCondition, WrongTarget, spoiled
from mgt_core.lab.exact_kl import log_ratios
from mgt_core.lab.measures import distance
from mgt_core.lab.potts import Potts
from support.fit import pooled_p
from support.lab import FIELD, HOT, LARGE, LEVEL, SMALL, SURE, bias, exact, marginals, p_of, product, run, sampled

small = pytest.mark.parametrize("name", SMALL)
large = pytest.mark.parametrize("name", LARGE)
BLIND = {  # which cell comes next is settled before it is drawn
    "halton": FixedOrder(),
    "raster": FixedOrder("raster"),
    "random": FixedOrder("random"),
    "rolled": FixedOrder(roll=True),
    "confidence, hot": MaskGIT(HOT),
    "first-hitting": FirstHitting(1),
    "moments, codes as the model has them": MomentSampler((0.5, 0.5), sharpening=0.0),
}


class TestOneCellAtATime:
    """N steps are exact, in any order that does not look at the draws."""

    @small
    @pytest.mark.parametrize("order", BLIND)
    def test_pictures_follow_the_truth(self, name, order):
        assert p_of(SMALL[name], run(SMALL[name], sampler=BLIND[order])) > LEVEL

    @large
    @pytest.mark.parametrize("order", ["halton", "raster", "random", "first-hitting"])
    def test_recorded_log_probabilities_are_the_truths(self, name, order):
        """Picture by picture: the chain rule."""
        truth, labels = LARGE[name], torch.zeros(16, dtype=torch.long)
        before = all_masked(truth, 16)
        after = sampled(truth, state=before, sampler=BLIND[order])
        torch.testing.assert_close(
            log_ratios(truth, before, after, labels), torch.zeros(16).double(), rtol=0, atol=1e-3
        )

    def test_every_schedule_is_the_same(self):
        settings = {"sampler": FixedOrder(counts="schedule")}
        found = [run(FIELD, 64, schedule=schedule, **settings) for schedule in mgt_core.list_schedules()]
        assert all(torch.equal(found[0], other) for other in found)

    @pytest.mark.parametrize("label", [1, -1])
    def test_of_another_class_and_of_none(self, label):
        assert p_of(FIELD, run(FIELD, positive=label, sampler="halton"), label=label) > LEVEL


class TestOneStep:
    @small
    def test_it_is_the_product_of_the_marginals(self, name):
        truth = SMALL[name]
        ways = ("maskgit", "halton", "momentum", "zsampling", "masked_zsampling", "first_hitting", "moment")
        samplers = [*ways, mgt_core.OneStep(masked=1.0, noise=0.0)]
        ps = [
            p_of(truth, run(truth, 2048, sampler=sampler, steps=1, seed=k), product(truth, marginals(truth)))
            for k, sampler in enumerate(samplers)
        ]
        assert pooled_p(ps) > LEVEL

    @large
    def test_recorded_log_probabilities_are_the_marginals(self, name):
        truth = LARGE[name]
        after = sampled(truth, 8, sampler="halton", steps=1)
        tokens = after.tokens.flatten(1)
        own = marginals(truth).log()[torch.arange(truth.cells), tokens]
        torch.testing.assert_close(after.confidence.flatten(1).double(), own, rtol=0, atol=1e-4)


class TestNeutral:
    """Parts with their neutral settings leave every token as it is."""

    @large
    @pytest.mark.parametrize("part", [*MODIFIERS, *PATCHES])
    def test_modifiers_and_patches(self, name, part):
        kind = (MODIFIERS if part in MODIFIERS else PATCHES).get(part)
        if getattr(kind, "needs", ""):
            pytest.skip("it acts inside blocks, which a truth does not have")
        if part == "compile":
            pytest.skip("tried where every part runs")
        truth = LARGE[name]
        needed = {"self_guidance": {"branch": LabBranch(truth.codes)}, "rescoring": {"rescorer": lab_model(truth)}}
        others = needed.get(part, {})
        settings = {"batch": 8, "steps": 4, "cfg": 2.0 if truth.classes > 1 else 1.0}
        changed = run(truth, patched=lambda model: model.with_part(kind(**kind.neutral, **others)), **settings)
        assert torch.equal(changed, run(truth, **settings))

    @large
    def test_samplers(self, name):
        plain = run(LARGE[name], 8, steps=4)
        for kind in (SAMPLERS.get(each) for each in SAMPLERS):
            if kind.neutral is not None:
                assert torch.equal(run(LARGE[name], 8, steps=4, sampler=kind(**kind.neutral)), plain), kind

    def test_a_branch_that_forgets_nothing(self):
        truth = LARGE["quadtree"]

        def guided(model):
            return model.with_self_guidance(LabBranch(truth.codes, blank=0.0), 3.0)

        assert torch.equal(run(truth, 8, steps=4, patched=guided), run(truth, 8, steps=4))


class TestEditing:
    """What is drawn anew of pictures of the truth leaves them pictures of the truth."""

    @small
    @pytest.mark.parametrize("order", [name for name in BLIND if name not in ("raster", "rolled")])
    def test_inpainting(self, name, order):
        truth = SMALL[name]
        tokens, free = exact(truth), torch.arange(truth.cells) % 2 == 0
        after = run(truth, state=given(truth, tokens, free), sampler=BLIND[order], steps=int(free.sum()))
        assert torch.equal(after[:, ~free], tokens[:, ~free]) and not torch.equal(after, tokens)
        assert p_of(truth, after) > LEVEL

    @small
    def test_inpainting_of_other_cells_in_every_picture(self, name):
        truth = SMALL[name]
        free = torch.rand(4096, truth.cells, generator=torch.Generator().manual_seed(1)) < 0.5
        free[:, 0] = True
        after = run(truth, state=given(truth, exact(truth), free), sampler=FixedOrder("random"))
        assert p_of(truth, after) > LEVEL

    @small
    @pytest.mark.parametrize("strength", [0.4, 1.0])
    @pytest.mark.parametrize("sampler", [FixedOrder("random", counts="schedule"), FirstHitting(1)], ids=str)
    def test_image_to_image(self, name, strength, sampler):
        truth, tokens = SMALL[name], exact(SMALL[name])
        state = given(truth, tokens, strength=strength)
        after = run(truth, state=state, sampler=sampler, schedule="linear")
        assert not torch.equal(after, tokens) and p_of(truth, after) > LEVEL


class TestGuidance:
    """Where it must, guidance w draws from p_u^(1 - w) p_c^w, normalized: the tilted truth."""

    W = 4.0

    def tilted(self, truth):
        logs = (1 - self.W) * truth.probabilities(-1).log() + self.W * truth.probabilities(0).log()
        return logs.softmax(0)

    def test_weights_one_and_zero_are_the_class_and_none(self):
        assert p_of(FIELD, run(FIELD, cfg=1.0, sampler="halton")) > LEVEL
        assert p_of(FIELD, run(FIELD, cfg=0.0, sampler="halton"), label=-1) > LEVEL

    def test_the_last_cell(self):
        """Of pictures of the class whose other cells are given."""
        free = torch.arange(9) == 4
        after = run(FIELD, state=given(FIELD, exact(FIELD), free), cfg=self.W, steps=1, sampler="halton")
        grids = FIELD.every_grid()
        rest = FIELD.number_of(grids.masked_fill(free, 0))

        def among_its_like(p):
            return torch.zeros(512, dtype=torch.float64).scatter_add_(0, rest, p)[rest]

        tilted, own = self.tilted(FIELD), FIELD.probabilities(0)
        assert p_of(FIELD, after, among_its_like(own) * tilted / among_its_like(tilted)) > LEVEL
        assert p_of(FIELD, after) < SURE  # and guidance does something

    def test_cells_that_are_independent(self):
        """All at once or one by one, guided away from the even distribution: the cells of a mixture are dependent."""
        truth = Potts(coupling=0.0, bias=bias(classes=1))
        weak = spoiled(truth, [WrongTarget(1.0)])
        tilted = product(truth, (self.W * marginals(truth).log()).softmax(-1))
        for steps in (1, 3, 9):
            assert p_of(truth, run(weak, cfg=self.W, steps=steps, sampler="halton"), tilted) > LEVEL

    def test_classes_that_differ_in_the_first_cell(self):
        """When that is drawn first; when it is drawn last, the others do not follow the tilt."""
        first = torch.zeros(2, 9, 2)
        first[:, 0] = bias(cells=1)[:, 0] * 2
        truth = Potts(coupling=0.9, bias=first)
        assert p_of(truth, run(truth, cfg=self.W, sampler=FixedOrder("raster")), self.tilted(truth)) > LEVEL
        assert p_of(truth, run(truth, cfg=self.W, sampler=FixedOrder("halton")), self.tilted(truth)) < SURE

    def test_it_makes_up_for_a_class_that_is_heeded_too_little(self):
        weak = spoiled(FIELD, [WeakCondition(0.4)])
        assert p_of(FIELD, run(weak, cfg=1 / 0.4, sampler="halton")) > LEVEL
        assert p_of(FIELD, run(weak, sampler="halton")) < SURE


class TestZigzag:
    @small
    def test_plain_in_random_order_one_by_one(self, name):
        assert p_of(SMALL[name], run(SMALL[name], sampler=mgt_core.ZSampling(HOT))) > LEVEL

    @pytest.mark.parametrize("steps", [3, 5])
    def test_plain_where_cells_are_independent(self, steps):
        """Whatever goes back and forth; kept by confidence, likely codes win."""
        truth = Potts(coupling=0.0, bias=bias())
        assert p_of(truth, run(truth, steps=steps, sampler=mgt_core.ZSampling(HOT))) > LEVEL
        assert p_of(truth, run(truth, steps=steps, sampler=mgt_core.ZSampling((0.0, 0.0)))) < SURE

    @small
    def test_plain_keeps_pictures_of_the_truth(self, name):
        """Going back from k known cells of the truth to fewer, then forth one by one."""
        truth = SMALL[name]
        after = run(truth, state=given(truth, exact(truth), strength=1.0), sampler=Undecided(HOT), schedule="linear")
        assert p_of(truth, after) > LEVEL


class Undecided(mgt_core.ZSampling):
    """After every step back to three cells more than there were, in the same way, then forth one by one."""

    def loop(self, run):
        for index in run.indices:
            kept = self.surest(run, run.draw(index))
            more = [min(left + 3, run.cells) for left in kept.left]
            tokens = self.go_back(run, kept, more)
            while more[0] > kept.left[0]:
                drawn = run.draw(index, tokens, more, visit=more[0])
                more = [left - 1 for left in more]
                tokens = run.keep(drawn, drawn.log_probability + 1000 * run.draws.gumbel(drawn.step), left=more).tokens
            run.accept(replace(kept, tokens=tokens))


class TestPathPlanning:
    """With eta 0 and a hot temperature it is ancestral sampling; with eta 1, DFM's."""

    @small
    def test_what_is_never_taken_back_is_exact_one_by_one(self, name):
        assert p_of(SMALL[name], run(SMALL[name], sampler=PathPlanning(HOT, eta=0.0))) > LEVEL

    @pytest.mark.parametrize("planner", [None, lab_model(FIELD)], ids=["self", "second"])
    def test_cells_that_are_independent(self, planner):
        """Whatever is taken back, at random; planned by what was drawn, likely codes win."""
        truth = Potts(coupling=0.0, bias=bias())
        for steps in (3, 7):
            assert p_of(truth, run(truth, steps=steps, sampler=PathPlanning(HOT, planner=planner))) > LEVEL
        assert p_of(truth, run(truth, steps=7, sampler=PathPlanning((0.0, 0.0), planner=planner))) < SURE

    def test_of_dependent_cells_many_steps_are_exact(self):
        """Several cells go and come in a step, each drawn by itself, which is an error that steps wear off; MaskGIT's
        is gone at one cell a step."""

        def excess(steps):
            return distance(FIELD, run(FIELD, 20_000, steps=steps, sampler=PathPlanning(HOT), schedule="cosine")).excess

        assert excess(9) > 0.012 > excess(36)


class TestRescoring:
    @small
    def test_two_exact_models_leave_the_truth(self, name):
        truth = SMALL[name]

        def mixed(model):
            return model.with_part(Rescoring(lab_model(truth), 0.7))

        assert p_of(truth, run(truth, sampler="halton", patched=mixed)) > LEVEL

    def test_the_law_is_that_of_the_mixed_conditionals(self):
        """One cell at a time: of two label smoothings, that of their mean."""
        weak, half = (spoiled(FIELD, [Smoothed(share)]) for share in (0.8, 0.4))

        def mixed(model):
            return model.with_part(Rescoring(lab_model(weak), 0.5))

        assert torch.equal(run(FIELD, 64, sampler="halton", patched=mixed), run(half, 64, sampler="halton"))


class TestSelfGuidance:
    def test_on_a_blank_canvas_there_is_nothing_to_amplify(self):
        """A single step's two passes agree."""

        def guided(model):
            return model.with_self_guidance(LabBranch(FIELD.codes, blank=1.0), 5.0)

        after = run(FIELD, steps=1, sampler="halton", patched=guided)
        assert p_of(FIELD, after, product(FIELD, marginals(FIELD))) > LEVEL

    def test_it_sharpens_what_the_known_cells_say(self):
        """One cell of pictures of the truth: l + s (l - l_H), with l_H the cell's own marginal."""

        def guided(model):
            return model.with_self_guidance(LabBranch(FIELD.codes, blank=1.0), 2.0)

        free, tokens = torch.arange(9) == 4, exact(FIELD)
        after = run(FIELD, state=given(FIELD, tokens, free), steps=1, sampler="halton", patched=guided)
        known = FIELD.logits(tokens.masked_fill(free, 2), torch.zeros(len(tokens), dtype=torch.long))[:, 4]
        sharp = (3 * known - 2 * marginals(FIELD)[4].log()).softmax(-1)[:, 1].double()
        gap = (after[:, 4].double() - sharp).sum() / (sharp * (1 - sharp)).sum().sqrt()
        assert abs(float(gap)) < 4


class TestPower:
    """The same tests tell ways to decode that are not exact."""

    @pytest.mark.parametrize(
        "settings",
        [
            {"sampler": MaskGIT((0.0, 0.0))},  # an order that looks at the draws
            {"sampler": "halton", "steps": 5},  # two cells at a time
            {"sampler": "halton", "patched": lambda model: model.with_modifier(mgt_core.TopKTopP(p=0.95))},
            {"sampler": FixedOrder(sharpness=(1.2, 1.2))},  # 20 % too sure
        ],
        ids=["confidence", "two at a time", "top-p", "sharper"],
    )
    def test_a_broken_run_is_told(self, settings):
        broken = [p_of(FIELD, run(FIELD, seed=k, **settings)) for k in range(3)]
        assert pooled_p(broken) < SURE

    def test_inpainting_that_does_not_see_what_is_given_is_told(self):
        blind = spoiled(FIELD, [Reach(0)])
        free = torch.arange(9) % 2 == 0
        assert p_of(FIELD, run(blind, state=given(FIELD, exact(FIELD), free), steps=5, sampler="halton")) < SURE

    def test_chance_alone_seldom_fails(self):
        """p of exact draws is spread evenly."""
        ps = torch.tensor([p_of(FIELD, exact(FIELD, 2000, seed=seed)) for seed in range(200)]).sort().values
        assert float((ps - torch.linspace(0, 1, 200)).abs().max()) < 0.13  # Kolmogorov and Smirnov, p < 0.002
