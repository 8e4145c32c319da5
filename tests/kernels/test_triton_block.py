"""The kernels in Triton, and when they are used."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

from mgt_core.kernels import block, written
from support.device import ON_CPU
from support.pack import ROOT


@pytest.fixture(scope="module")
def off() -> dict[str, float]:
    """By case, how far the kernels are off (see support/triton_cases.py)."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    env |= {"TRITON_INTERPRET": "1"} if ON_CPU else {}
    done = subprocess.run(
        [sys.executable, "-m", "support.triton_cases"], env=env, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kernel", ["modulate", "gated", "gated and modulated", "joined"])
def test_float32_within_and_one_rounding_at_the_end(kernel, off):
    own = {case: error for case, error in off.items() if case.startswith(f"{kernel} (")}
    # The interpreter cuts bfloat16 off, where a GPU rounds it.
    cut = {case for case in own if case.endswith("bfloat16") and ON_CPU}
    worse = {case: error for case, error in own.items() if error > (2 if case in cut else 1) + 0.01}
    assert len(own) >= 12 and not worse


def test_a_network_computes_the_same(off):
    assert off["network"] < 1e-4


@pytest.fixture
def asked(monkeypatch):
    """As on a machine with a GPU, where nothing is known yet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    written.written.cache_clear()
    yield
    written.written.cache_clear()


@pytest.mark.parametrize("error", [ImportError("none"), RuntimeError("Failed to find C compiler")])
def test_where_triton_does_not_work_plain_torch_does(error, asked, monkeypatch, caplog):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name in ("triton", "mgt_core.kernels.triton_block"):
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name in ("triton", "mgt_core.kernels.triton_block"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert written.written() is None
    assert bool(caplog.messages) == (not isinstance(error, ImportError))


def test_not_without_a_gpu():
    x = torch.zeros(1, 2, 16, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert not block.gains(x) and block.own(x) is None
