"""Patches beside each other: whichever was attached first, each acts on what those before it leave."""

from dataclasses import dataclass, field

import pytest
import torch

import mgt_core
from mgt_core.patches.base import Patch, RunPatch
from support.runs import NEGATIVE, PIPE, POSITIVE, condition, empty


@dataclass(frozen=True)
class EverySecond(Patch):
    """Evaluates in every second step; those in between take what it gave."""

    slot, title, place, neutral = "every second", "every second step", "conditions", None

    def begin(self, network):
        return Kept()


class Kept(RunPatch):
    def __init__(self):
        self.index, self.states = 0, {}

    def enter(self, moment):
        self.index = moment.index

    def known(self, entries):
        return entries if self.index % 2 and self.states.keys() >= set(entries) else ()

    def completed(self, entries, states):
        self.states |= states
        return {entry: self.states[entry] for entry in entries}


@dataclass(frozen=True)
class Wrapped(Patch):
    """Notes the calls of what it wraps."""

    slot, title, place, neutral = "wrapped", "a wrapper", "step", {}

    seen: list = field(default_factory=list)

    def begin(self, network):
        return Wrapper(self.seen)


class Wrapper(RunPatch):
    def __init__(self, seen):
        self.seen = seen

    def around(self, features, call):
        def wrapped(*args):
            self.seen.append((type(features).__name__, call.entries))
            return features(*args)

        return wrapped


def run(*patches, negative=NEGATIVE, **chosen):
    model, seen = PIPE.model, []
    for patch in patches:
        model = model.with_patch(patch)
    chosen = {"steps": 6, "cfg": 3.0, "seed": 7, "callback": seen.append} | chosen
    out = mgt_core.sample(model, empty(batch=2), POSITIVE, negative, **chosen)
    return out.tokens, [step.passes for step in seen]


@pytest.mark.parametrize("order", [1, -1])
def test_patches_that_spare_evaluations_nest(order):
    """In steps that are evaluated at all, guidance reuse still leaves out the negative one."""
    tokens, passes = run(*(EverySecond(), mgt_core.GuidanceReuse(4))[::order])
    assert passes == [2, 2, 3, 3, 5, 5]
    alone, all_passes = run(EverySecond())
    assert all_passes == [2, 2, 4, 4, 6, 6] and not torch.equal(tokens, alone)


def test_what_is_kept_is_kept_by_condition():
    """Prompts of different length are two calls."""
    longer = condition(seed=2, length=9)
    out, passes = run(EverySecond(), negative=longer)
    assert passes == [2, 2, 4, 4, 6, 6] and not torch.equal(out, run(EverySecond())[0])


@pytest.mark.parametrize("order", [1, -1])
def test_a_wrapper_wraps_what_takes_the_networks_place(order):
    wrapper = Wrapped()
    tokens, _ = run(*(wrapper, mgt_core.Compile(backend="eager"))[::order])
    assert {name for name, _ in wrapper.seen} == {"CompiledFeatures"} and len(wrapper.seen) == 6
    assert torch.equal(tokens, run()[0])
