"""On a GPU no step waits for the device, mixes devices or computes in float64, and none starts more kernels than it
did; and the tokens are those of the CPU. Every family with every sampler, patch and modifier, on a pretended device.

Waits are allowed of four kinds: to merge known tokens the host has to learn once an evaluation how many these are, for
samplers that end early once a step how many cells it may reveal, that of spans how sure each of them is, and particles
are scored at some of the steps. Of samplers that keep one of several candidates the last step is told when that is
known, after the end of the run."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core import SAMPLERS
from support.families import FAMILIES, KIN
from support.on_device import CASES, CEILINGS, DRAWS, MORE, on_device, possible, tokens_of, watched

pytestmark = pytest.mark.cpu_only("the device is pretended")
# What asks for it, by case.
ASKING = {"merging of known tokens": "patches/token_merging.py", "sampler particles": "samplers/particles.py"}
ASKING["sampler magnet"] = "samplers/magnet.py"
ASKING |= {f"sampler {name}": "samplers/adaptive.py" for name in SAMPLERS if SAMPLERS.get(name).ends_early}
BOOKS = 4
CHOOSING = ("sampler best_of", "sampler particles")
PAIRS = [(family, case) for family in FAMILIES if family not in KIN for case in CASES if possible(family, case)]
# In another type only what acts inside the network may do otherwise.
INSIDE = {case for case in CASES if case.startswith("patch ")} | {case for case in MORE if MORE[case].needs}
HALF = [pair for pair in PAIRS if pair[1] in INSIDE | {"sampler maskgit"}]


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """By family and type of numbers, on the CPU and on the device."""
    root = tmp_path_factory.mktemp("device")

    @cache
    def both(family: str, dtype: torch.dtype = torch.float32):
        source = FAMILIES[family](root / f"{family} {dtype}")
        pipe = mgt_core.load(source, dtype=dtype, device="cpu")
        return pipe, replace(pipe, model=on_device(pipe.model))

    return both


def is_of_a_whole_run(place: str) -> bool:
    """Of its beginning or its end."""
    return place.startswith("types.py:") or place.startswith("sampling/run.py:") and place.endswith(" __init__")


def check(run, key: str) -> None:
    case = key.split(": ", 1)[1]
    parts = run.watch.parts[1 : -2 if case in CHOOSING else -1]  # the first one holds preparations, the last the end
    if key.startswith("magnet"):  # of each code book there is a run, with preparations and an end
        begun = [any(is_of_a_whole_run(note.place) for note in part.waits) for part in parts]
        assert sum(begun) <= (2 if case in CHOOSING else 1) * (BOOKS - 1)  # told late, as above
        parts = [part for part, own in zip(parts, begun, strict=True) if not own]
    waits = sum((part.waits for part in parts), Counter())
    asking = (ASKING[case],) if case in ASKING else ()
    if key.startswith("magnet") and case in CHOOSING:
        asking += (ASKING["sampler magnet"],)  # which makes its candidates
    assert waits.total() <= len(asking) * len(parts)
    assert all(note.place.startswith(asking) for note in waits)
    assert [note for note in run.watch.whole.float64 if not note.place.startswith(DRAWS)] == []
    assert not CEILINGS.exceeded(key, run.kernels)


@pytest.mark.parametrize(("family", "case"), PAIRS)
def test_a_run_is_clean_and_right(pipes, family, case):
    cpu, device = pipes(family)
    run = watched(device, case)
    check(run, f"{family}: {case}")
    assert torch.equal(run.tokens, tokens_of(cpu, case))


@pytest.mark.parametrize(("family", "case"), HALF)
def test_half_precision_is_clean(pipes, family, case):
    check(watched(pipes(family, torch.bfloat16)[1], case), f"{family}, bfloat16: {case}")


def test_the_ceilings_are_of_what_there_is():
    named = {f"{family}: {case}" for family, case in PAIRS}
    assert len(named & CEILINGS.table.keys()) > 100
    runs = {key for key in CEILINGS.table if key.split(":")[0] in FAMILIES}
    assert runs <= named
