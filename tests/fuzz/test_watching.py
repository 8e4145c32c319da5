"""Those who watch fuzzers and kill processes see what goes wrong."""

import os

import pytest

from support import kills, trials


def test_every_kind_of_fault_is_seen_and_the_next_trial_goes_on():
    report = trials.run("support.faulty", range(6))
    said = {1: "KeyError", 2: "wrote outside", 3: "died with status 3", 4: "no sentence"}
    assert report.outcomes["fine"] == 3 and report.faults.keys() == said.keys()  # what wrote outside went on
    assert all(said[seed] in fault for seed, fault in report.faults.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows copies no processes")
def test_lost_work_is_seen():
    told = kills.run("support.faulty", 4)
    assert told["killed"] and any("the work is gone" in fault for fault in told["faults"])
