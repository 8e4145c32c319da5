"""docs/decoders.md: a row for every decoder, and what it is made of."""

import pytest

import mgt_core
from bench.decoders import __main__ as command
from bench.decoders import measuring, tables
from bench.decoders.measuring import Cost, figures
from bench.decoders.rows import ROWS
from bench.laboratory.choices import CHOICES
from bench.laboratory.decoders import DECODERS
from bench.markdown import fill
from bench.pace import Pace, mean
from support.device import HERE
from support.lab import FIELD, run
from support.pack import load_pack


class TestRows:
    def test_every_registered_sampler_has_one(self):
        assert set(ROWS) == set(mgt_core.SAMPLERS)

    def test_it_names_the_node_of_its_sampler(self):
        kinds = load_pack().NODE_CLASS_MAPPINGS
        for name, row in ROWS.items():
            assert kinds[row.node].part is mgt_core.SAMPLERS.get(name), name

    def test_evidence_is_of_the_same_sampler(self):
        made = {**CHOICES, **DECODERS}
        for name, row in ROWS.items():
            kinds = {type(made[each].sampler) for each in row.laboratory}
            assert kinds <= {mgt_core.SAMPLERS.get(name)}, name

    def test_networks_are_those_that_have_what_it_needs(self):
        assert ROWS["maskgit"].families == "all"
        fit = ROWS["uncage"].families.split(", ")
        assert fit == [n for n in mgt_core.BACKBONES if "attention" in mgt_core.BACKBONES.get(n).supports] != []


class TestPace:
    """What a picture costs alone is what its batch counts for it."""

    @pytest.mark.parametrize(
        "sampler", [mgt_core.EntropyBounded(0.0, bound=1.0), mgt_core.FirstHitting(), mgt_core.FirstHitting(2)]
    )
    def test_a_batch_costs_its_pictures_what_they_cost_alone(self, sampler):
        together, alone = Pace(sampler), []
        run(FIELD, 6, sampler=sampler, steps=9, callback=together)
        for seed in range(6):
            own = Pace(sampler)
            run(FIELD, 1, sampler=sampler, steps=9, seed=seed, callback=own)
            alone += own.costs
        assert together.costs == alone and len(set(alone)) > (getattr(sampler, "tokens", 0) != 2)

    def test_others_cost_the_whole_run(self):
        pace = Pace("zsampling")
        run(FIELD, 3, sampler="zsampling", steps=4, callback=pace)
        assert pace.costs == [(7, 7)] * 3

    def test_a_mean_is_whole_where_all_are_alike(self):
        assert repr(mean([3, 3])) == "3" and mean([3, 4]) == 3.5


class TestMeasuring:
    def test_costs_of_every_decoder(self, monkeypatch):
        """On the built-in model, in two steps."""
        monkeypatch.setattr(measuring, "STEPS", 2)
        pipe = mgt_core.load("demo", **HERE)
        for name, row in ROWS.items():
            found = measuring.cost(
                pipe, measuring.sampler_of(name, row, pipe, measuring.PROMPTS[1]), measuring.PROMPTS[1], 0
            )
            assert 0 < found.calls <= found.passes and found.inside > 0 and found.outside > 0, name

    def test_shares_are_of_a_plain_step_and_of_a_call(self):
        found = figures([Cost(10, 20, 10, 2.0, 0.5), Cost(10, 20, 10, 4.0, 0.7), Cost(10, 20, 10, 3.0, 0.1)], 0.1)
        assert found == {"calls": 10, "passes": 20, "inside": pytest.approx(3.0), "outside": pytest.approx(0.5)}


class TestPage:
    def test_the_published_page_is_made_of_the_reports(self):
        page = (command.DOCS / "decoders.md").read_text(encoding="utf-8")
        assert fill(page, tables.PARTS, command.reports(command.DOCS)) == page
        assert all(row.label in page for row in ROWS.values()) and page.count("<!-- generated:") == len(tables.PARTS)

    def test_points(self):
        assert tables.points(None) == "–"
        assert tables.points({"value": -0.052, "interval95": [-0.083, -0.021]}) == "-5 (-8 to -2)"
        assert tables.points({"value": 0.1, "interval95": None}) == "+10"
