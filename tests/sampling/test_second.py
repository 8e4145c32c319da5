"""A second network on the grids of a run: what goes together, and what is counted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import mgt_core
from mgt_core import MGTError, Rescoring
from mgt_core.lab.backbone import lab_model
from mgt_core.lab.potts import Potts
from mgt_core.placement import acquired_together
from mgt_core.sampling import memory
from mgt_core.sampling.second import check_second
from support.lab import FIELD, LARGE
from support.runs import NEGATIVE, PIPE, POSITIVE, empty, run
from support.trials import is_sentence

MODEL = PIPE.model


class Place:
    """A host's placement: asked for several networks at once."""

    device = torch.device("cpu")

    def __init__(self, name, log, kept=()):
        self.name, self.log, self.kept = name, log, kept

    def beside(self, other):
        return Place(self.name, self.log, (*self.kept, other.name, *other.kept))

    def acquire(self, bytes_needed=0):
        self.log.append(((self.name, *self.kept), bytes_needed))
        return self.device


def other_network(**fields):
    names = ("codebook_size", "mask_id", "condition_fields", "only_trained_grid", "trained_grid", "makes")
    names += ("stage_shares",)
    return SimpleNamespace(**{name: getattr(lab_model(FIELD).network, name) for name in names} | fields)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (None, "the rescorer is NoneType; expected the .model of a loaded bundle"),
        (lab_model(Potts(codes=3)), "the rescorer has 3 codes and 3 for a masked cell, and the model 2 codes and 2"),
        (lab_model(Potts((4, 4))), "the rescorer makes grids of 4 x 4 tokens alone, and the model of 3 x 3"),
        (
            lab_model(FIELD).with_modifier(mgt_core.NoiseRegularization()),
            "the rescorer carries NoiseRegularization, which looks at more than a cell at a time",
        ),
    ],
)
def test_what_does_not_go_together_is_told_when_it_is_attached(second, words):
    with pytest.raises(MGTError) as told:
        lab_model(FIELD).with_patch(Rescoring(second))
    assert str(told.value).startswith(words) and is_sentence(str(told.value))


def test_conditions_have_to_be_the_same():
    with pytest.raises(MGTError, match="the planner reads labels of a condition, and the model hidden and pooled; the"):
        check_second(other_network(condition_fields=("pooled", "hidden")), lab_model(FIELD), "planner")


def test_sizes_of_a_token_have_to_be_the_same():
    larger = replace(MODEL, pixels_per_token=2 * MODEL.pixels_per_token)
    with pytest.raises(MGTError, match="a token of the rescorer stands for"):
        run(pipe=replace(PIPE, model=MODEL.with_patch(Rescoring(larger))))


def test_a_host_is_asked_for_both_at_once():
    log = []
    second = MODEL.with_placement(Place("second", log))
    model = MODEL.with_placement(Place("first", log)).with_patch(Rescoring(second))
    run(pipe=replace(PIPE, model=model))
    alone = memory.step_bytes(MODEL, empty(), POSITIVE, NEGATIVE, [3.0])
    assert [names for names, _ in log] == [("first", "second")] and log[0][1] == 2 * alone
    log.clear()
    sampler = mgt_core.PathPlanning(planner=second)
    run(pipe=replace(PIPE, model=MODEL.with_placement(Place("first", log))), sampler=sampler)
    assert [names for names, _ in log] == [("first",), ("first", "second")]


def test_what_lies_on_two_devices_is_told():
    elsewhere = Place("second", [])
    elsewhere.device = torch.device("meta")
    assert acquired_together([Place("first", [])]) == torch.device("cpu")
    with pytest.raises(MGTError, match="one model lies on cpu and another on meta; load both on the same device"):
        acquired_together([SimpleNamespace(acquire=lambda memory=0: torch.device("cpu")), elsewhere])


def test_models_of_models_are_found():
    third = lab_model(LARGE["potts"])
    second = third.with_patch(Rescoring(third))
    first = third.with_patch(Rescoring(second))
    assert first.companions == [second, third] and third.companions == []
    assert third.with_patch(Rescoring(second, 0.0)).companions == []
