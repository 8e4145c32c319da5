"""Every fuzzer and every killed subject of this folder, in short (the long forms: support/trials.py and kills.py)."""

import importlib
import os
from pathlib import Path

import pytest

from support import kills, trials

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_"))
MODULES = {name: importlib.import_module(f"fuzz.{name}") for name in NAMES}
FUZZERS = [name for name, module in MODULES.items() if hasattr(module, "trial")]
SUBJECTS = [name for name, module in MODULES.items() if hasattr(module, "act")]


def test_all_modules_are_one_or_the_other():
    assert sorted(FUZZERS + SUBJECTS) == list(MODULES)


@pytest.mark.parametrize("name", FUZZERS)
def test_whatever_comes_is_taken_or_refused_in_a_sentence(name):
    report = trials.run(f"fuzz.{name}", trials.seeds(MODULES[name].SHORT))
    assert not report.faults, str(report)
    assert set(MODULES[name].OUTCOMES) <= set(report.outcomes), str(report)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows copies no processes")
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_kill_loses_nothing(name):
    told = kills.run(f"fuzz.{name}", kills.kills(MODULES[name].KILLS))
    assert told["killed"] and not told["faults"], told
