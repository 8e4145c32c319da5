"""UNCAGE: its score on numbers worked out by hand, and what it changes in a run."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError, Uncage
from mgt_core.samplers.uncage import Words, blurred, contrast, rescaled
from support.device import equal
from support.golden import bundles, pipeline
from support.runs import GRID, PIPE, condition, empty, few, grids_of_bools, partial, run, steps_of

FOX, OWL = ((1,), (2, 3)), ((4,),)  # two words, of one token and of two; and one
OBJECTS = ((FOX, OWL),)


def tables(*objects):
    made = Words.of(objects, torch.device("cpu"))
    return made.own, made.others


class TestScore:
    def test_two_objects_without_attributes_score_their_absolute_difference(self):
        """|M_1 - M_2|, as the paper says below equation 3."""
        maps = torch.rand(1, 2, 3, 4)
        found = contrast(maps, *tables((((1,),), ((2,),))))
        assert torch.allclose(found, (maps[:, 0] - maps[:, 1]).abs())

    def test_an_object_is_as_sure_as_its_least_word(self):
        """Words red 0.9, fox 0.4 | blue 0.1, owl 0.3: red fox 0.4 - 0.3, blue owl 0.1 - 0.9."""
        maps = torch.tensor([0.9, 0.4, 0.1, 0.3]).view(1, 4, 1, 1)
        found = contrast(maps, *tables((((1,), (2,)), ((3,), (4,)))))
        assert math.isclose(float(found), 0.1, abs_tol=1e-6)

    def test_three_objects(self):
        """0.5 - 0.8, 0.8 - 0.5, 0.2 - 0.8: the second is the clearest."""
        maps = torch.tensor([0.5, 0.8, 0.2]).view(1, 3, 1, 1)
        assert math.isclose(float(contrast(maps, *tables((((1,),), ((2,),), ((3,),))))), 0.3, abs_tol=1e-6)

    def test_one_object_scores_its_own_attention(self):
        maps = torch.rand(1, 2, 3, 4)
        assert torch.equal(contrast(maps, *tables((((1,), (2,)),))), maps.amin(1))

    def test_images_have_their_own_objects(self):
        """Beside an image of three words one of one word, and one of none, whose other rows do not count."""
        maps = torch.rand(3, 3, 2, 2)
        own, others = tables((FOX, OWL), (((7,),),), ())
        found = contrast(maps, own, others)
        assert torch.equal(found[1], maps[1, 0]) and not found[2].any()
        alone = contrast(maps[:1], *tables((FOX, OWL)))
        assert torch.equal(found[:1], alone)

    def test_a_word_is_the_mean_of_its_tokens(self):
        words = Words.of(OBJECTS, torch.device("cpu"))
        assert words.maps.columns.tolist() == [[1, 2, 3, 4]]
        assert words.tokens[0].tolist() == [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]

    @few
    @given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
    def test_brute_force(self, objects, words, seed):
        draw = torch.Generator().manual_seed(seed)
        places = iter(range(1000))
        made = tuple(tuple((next(places),) for _ in range(words)) for _ in range(objects))
        maps = torch.rand(1, objects * words, 2, 3, generator=draw)
        grouped = maps.unflatten(1, (objects, words))[0]
        wanted = torch.stack(
            [
                grouped[o].amin(0)
                - (torch.cat([grouped[k] for k in range(objects) if k != o]).amax(0) if objects > 1 else 0)
                for o in range(objects)
            ]
        ).amax(0)
        assert torch.allclose(contrast(maps, *tables(made))[0], wanted)


class TestMaps:
    def test_they_go_from_0_to_1(self):
        maps = rescaled(torch.rand(2, 3, 4, 4) * 0.01 + 5)
        assert torch.equal(maps.amin((2, 3)), torch.zeros(2, 3)) and torch.equal(maps.amax((2, 3)), torch.ones(2, 3))
        assert not rescaled(torch.full((1, 1, 4, 4), 0.2)).any()

    def test_blur_is_a_gaussian(self):
        """Of 2 tokens on a grid of 64, far from the edges."""
        spot = torch.zeros(64, 64)
        spot[32, 30] = 1.0
        found = blurred(spot, 2.0)
        assert math.isclose(float(found.sum()), 1.0, abs_tol=1e-5)
        for down, right in ((0, 0), (1, 2), (3, -1)):
            wanted = math.exp(-(down**2 + right**2) / 8) / (8 * math.pi)
            assert math.isclose(float(found[32 + down, 30 + right]), wanted, rel_tol=1e-3)

    def test_a_single_row_is_blurred_along_its_length(self):
        spot = torch.zeros(1, 64)
        spot[0, 32] = 1
        found = blurred(spot, 2.0)[0]
        assert math.isclose(float(found[34] / found[32]), math.exp(-0.5), rel_tol=1e-4)

    def test_blur_keeps_what_is_even_and_goes_with_the_grid(self):
        assert torch.allclose(blurred(torch.full((5, 9), 0.3), 20.0), torch.full((5, 9), 0.3))
        maps = torch.rand(6, 6)
        assert torch.equal(blurred(maps, 0.0), maps)
        spot = torch.zeros(16, 16)
        spot[8, 8] = 1.0  # a quarter of the side, so a quarter of the tokens: 0.5
        assert math.isclose(float(blurred(spot, 2.0)[8, 9] / blurred(spot, 2.0)[8, 8]), math.exp(-2), rel_tol=1e-4)


class TestRuns:
    def test_without_weight_or_objects_it_is_maskgit(self):
        plain = run(empty(batch=2), sampler="maskgit")
        for sampler in (
            Uncage(weight=0, objects=OBJECTS),
            Uncage(),
            Uncage(objects=((),)),
            Uncage(objects=OBJECTS, end=0),
        ):
            assert torch.equal(run(empty(batch=2), sampler=sampler).tokens, plain.tokens)

    def test_it_changes_which_cells_are_kept_in_its_part_of_the_run_alone(self):
        """In the first step the same is drawn, and other cells stay."""
        (_, plain), (_, changed) = (
            steps_of(empty(batch=2), sampler=sampler, steps=4, temperature=None)
            if isinstance(sampler, str)
            else steps_of(empty(batch=2), sampler=sampler, steps=4)
            for sampler in ("maskgit", Uncage(weight=50, objects=OBJECTS))
        )
        first = [steps[0].result.masked for steps in (plain, changed)]
        assert not torch.equal(*first) and torch.equal(first[0].flatten(1).sum(1), first[1].flatten(1).sum(1))
        both = ~first[0] & ~first[1]
        tokens = [steps[0].result.tokens for steps in (plain, changed)]
        assert torch.equal(tokens[0][both], tokens[1][both])

    def test_of_a_large_weight_the_clearest_cells_stay(self):
        """Worked out again from the maps of the first evaluation."""
        sampler, seen = Uncage(weight=100, temperature=(0.0, 0.0), blur=1.0, objects=OBJECTS), {}

        class Watched(Uncage):
            def words(self, run):
                seen["words"], seen["run"] = super().words(run), run
                return seen["words"]

        _, steps = steps_of(empty(), sampler=Watched(**vars(sampler)), steps=4)
        words = seen["words"]
        score = words.contrast(GRID, 1.0).flatten()  # of the first step, the only one that it acts in
        kept = ~steps[0].result.masked.flatten()
        drawn = steps[0].result.confidence.flatten()
        assert bool(kept.any()) and float(score[kept].mean()) > float(score[~kept].mean())
        assert float((100 * score + drawn)[kept].min()) >= float((100 * score)[~kept].max()) - 20

    @pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
    def test_it_looks_at_the_model_that_it_samples_from(self, weight):
        """Not at what a rescorer with other weights attends to."""
        other = replace(PIPE.model, network=copy.deepcopy(PIPE.model.network))
        with torch.no_grad():
            for values in other.network.parameters():
                values.mul_(1.5)
        found = []

        class Seen(Uncage):
            def words(self, run):
                words = super().words(run)
                found.append(words.maps)
                return words

        for model in (PIPE.model, PIPE.model.with_patch(mgt_core.Rescoring(other, weight))):
            run(sampler=Seen(objects=OBJECTS), pipe=replace(PIPE, model=model), steps=1)
        assert torch.equal(*(maps.maps(GRID) for maps in found))

    @pytest.mark.parametrize("cfg", [1.0, 3.0])
    def test_an_image_is_the_same_alone(self, cfg):
        sampler = Uncage(weight=20, end=1.0, objects=OBJECTS)
        both = run(empty(batch=2), sampler=sampler, cfg=cfg, seed=7).tokens
        assert equal(run(empty(), sampler=sampler, cfg=cfg, seed=8).tokens[0], both[1])

    @pytest.mark.parametrize("candidates", [1, 2])
    def test_every_image_has_its_own_prompt(self, candidates):
        """And so have its candidates."""
        pair, objects = condition(batch=2, seed=5), ((FOX, OWL), (OWL,))

        def sampler(own):
            return mgt_core.BestOf(n=candidates, sampler=Uncage((2.0, 0.0), weight=20, end=1.0, objects=own))

        both = run(empty(batch=2), pair, sampler=sampler(objects), seed=7).tokens
        for image, own in enumerate(objects):
            alone = mgt_core.Condition(hidden=pair.hidden[image : image + 1], pooled=pair.pooled[image : image + 1])
            again = run(empty(), alone, sampler=sampler((own,)), seed=7 + image)
            assert equal(again.tokens[0], both[image])

    @few
    @given(known=grids_of_bools, weight=st.sampled_from([3.0, 100.0]), steps=st.integers(1, 6))
    def test_given_cells_stay_and_all_are_filled(self, known, weight, steps):
        state = partial(known)
        after = run(state, sampler=Uncage(weight=weight, end=1.0, objects=OBJECTS), steps=steps)
        assert torch.equal(after.tokens[known], state.tokens[known]) and not bool(after.masked.any())

    def test_image_to_image(self):
        from dataclasses import replace

        state = replace(partial(torch.ones(1, *GRID, dtype=torch.bool), torch.zeros(1, *GRID) == 1), strength=0.5)
        after = run(state, sampler=Uncage(weight=20, end=1.0, objects=OBJECTS), steps=6)
        assert not bool(after.masked.any()) and not torch.equal(after.tokens, state.tokens)

    @pytest.mark.parametrize("part", ["token_merging", "token_cache", "step_skipping", "guidance_reuse"])
    def test_beside_what_saves_work(self, part):
        pipe = mgt_core.Pipeline(**{**vars(PIPE), "model": getattr(PIPE.model, f"with_{part}")()})
        after = run(empty(batch=2), pipe=pipe, sampler=Uncage(weight=20, end=1.0, objects=OBJECTS))
        assert not bool(after.masked.any())

    @pytest.mark.parametrize("bundle", range(len(bundles())))
    def test_every_layout_of_meissonic(self, bundle):
        pipe = pipeline(bundles()[bundle])
        after = run(empty(pipe=pipe), condition(pipe), condition(pipe, 1), pipe, sampler=Uncage(objects=OBJECTS))
        assert not bool(after.masked.any())


class TestSentences:
    @pytest.mark.parametrize(
        "sampler, batch, sentence",
        [
            (Uncage(objects=OBJECTS * 2), 3, "UNCAGE has objects of 2 prompts for 3 images"),
            (Uncage(objects=((((9,),),),)), 1, "UNCAGE has a word in row 9 of the prompt, which has 5"),
        ],
    )
    def test_what_does_not_go_with_a_run(self, sampler, batch, sentence):
        with pytest.raises(MGTError, match=sentence):
            run(empty(batch=batch), sampler=sampler)

    def test_several_prompts_at_once(self):
        both = mgt_core.Conditions(
            (mgt_core.ConditionPart(condition(seed=1)), mgt_core.ConditionPart(condition(seed=2)))
        )
        with pytest.raises(MGTError, match="UNCAGE looks at the words of one prompt"):
            run(empty(), both, sampler=Uncage(objects=OBJECTS))

    @pytest.mark.parametrize(
        "objects", [(1,), ((1, 2),), (((1, 2),),), "red fox", ((((-1,),),),), (((("a",),),),), ((((),),),)]
    )
    def test_objects_that_are_none(self, objects):
        with pytest.raises(MGTError, match="objects hold|row of a word"):
            Uncage(objects=objects)
