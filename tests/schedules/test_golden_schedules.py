"""Mask schedules against the published formulas."""

import json
import re

import pytest
import torch

import mgt_core
from support.golden import ROOT

FAMILIES = mgt_core.list_schedules()
RECORDED = ROOT / "maskgit" / "schedules.json"
FLOOR = 1e-6  # the published code keeps ratios above this


def recorded_family(label: str) -> mgt_core.MaskSchedule | None:
    """Our schedule for a label of the recording, such as pow0.5 or sigmoid(start=-3,end=3,...)."""
    name, _, rest = label.partition("(")
    if power := re.fullmatch(r"pow([0-9.]+)", name):
        return mgt_core.SCHEDULES.get("pow")(exponent=float(power[1]))
    given = dict(re.findall(r"(\w+)=([-+.\de]+)", rest))
    renamed = {"total_unkown": "tokens"}
    values = {renamed.get(key, key): float(value) for key, value in given.items() if key != "clip_min"}
    family = {"sqrt": "root"}.get(name, name)
    return mgt_core.SCHEDULES.get(family)(**values) if family in FAMILIES else None


RECORDINGS = [
    pytest.param(values, label, id=f"{part}/{label}")
    for part, values in json.loads(RECORDED.read_text()).items()
    if part.endswith("mask_ratio")
    for label in values
    # A schedule of the Self-Guidance pipeline alone, which is no family here.
    if not label.startswith("custom_schedule_func")
]


@pytest.mark.parametrize("values, label", RECORDINGS)
def test_golden_schedule_formula(values, label):
    """Published values, before the ends are forced."""
    progress = torch.tensor(json.loads(RECORDED.read_text())["t"])
    ours = recorded_family(label).formula(progress)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.clamp_min(FLOOR), torch.tensor(values[label]).clamp_min(FLOOR), atol=1e-6, rtol=0)


def test_golden_schedules_are_compared():
    assert RECORDINGS
