"""What the quality bench plans: prompts, cases, sweeps and twins."""

from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from bench.quality.cases import SAME_COST, VANILLA, choices, steps_at, sweeps, twin
from bench.quality.prompts import prompts, whole_rounds
from bench.quality.work import Extent, Store, planned, twins
from recipe.data.scenes import held_out
from recipe.data.subjects import load_subjects
from support.quality import SETTINGS, SMALL


class TestPlan:
    def test_prompts_are_one_list_of_held_out_ones(self):
        scenes = prompts(12)
        assert [len(scene.items) for scene in scenes] == [1, 1, 2] * 4
        assert prompts(6) == scenes[:6] and prompts(6, start=6) == scenes[6:]
        names = [subject.name for subject in load_subjects()]
        assert all(held_out(names[item.subject], scene.colour) for scene in scenes for item in scene.items)
        assert [whole_rounds(n) for n in (1, 3, 4)] == [3, 3, 6]

    def test_vanilla_is_a_point_of_every_sweep(self):
        for sweep in sweeps(SETTINGS):
            assert [case.name for case in sweep.points.values()].count(VANILLA) == 1, sweep.name
        odd = sweeps(SETTINGS | {"steps": 20, "temperature": (0.7, 0.1), "cfg": 2.5, "schedule": "root"})
        own = [v for sweep in odd for v, case in sweep.points.items() if case.name == VANILLA]
        assert own == [20, 2.5, 0.0, "float"]

    def test_names_are_of_one_case_and_one_file(self, tmp_path):
        plan = planned(SETTINGS, SMALL, {})
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        assert len({store.path(case) for case, _ in plan.values()}) == len(plan)
        for sweep in sweeps(SETTINGS):
            for case in sweep.points.values():
                assert plan[case.name][0].settings.keys() == case.settings.keys()

    @given(st.integers(1, 400))
    def test_equal_passes_are_equal(self, passes):
        steps = steps_at(passes, 48, SETTINGS)
        assert steps == 1 or abs(2 * steps / passes - 1) <= SAME_COST + 1.06 / passes

    def test_twins(self):
        found = twins(
            SETTINGS, {VANILLA: 48, "masked Z-Sampling": 94, "linear schedule": 48, "guidance reuse, every 4": 30}
        )
        assert {name: case.settings for name, case in found.items()} == {
            "masked Z-Sampling": {"steps": 48},
            "guidance reuse, every 4": {"steps": 15},
        }
        assert twin(48, 48, SETTINGS).name == VANILLA

    def test_a_point_that_serves_as_a_twin_gets_all_prompts(self):
        extent = Extent(12, 6)
        assert planned(SETTINGS, extent, {})["vanilla, 48 steps"][1] == 6
        plan = planned(SETTINGS, extent, {VANILLA: 48, "masked Z-Sampling": 94})
        assert plan["vanilla, 48 steps"][1] == 12 and plan["vanilla, 32 steps"][1] == 6

    def test_choices_cover_what_the_pack_offers(self):
        cases = [case for case, _ in planned(SETTINGS, SMALL, {}).values()]
        kinds = {type(case.settings.get("sampler")).__name__ for case in cases}
        assert {"Momentum", "FixedOrder", "ZSampling", "MaskedZSampling"} <= kinds
        assert {case.scheme for case in cases} - {None} == set(mgt_core.list_quantizations())
        assert len(choices(SETTINGS)) > 20
