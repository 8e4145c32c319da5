"""The pack and the golden data for all tests."""

from pathlib import Path

import pytest
import torch

from mgt_core.backbones.meissonic import ends
from support import frequencies
from support.device import DEVICE, ON_CPU, as_exact_as_can_be
from support.golden import OWN
from support.pack import ROOT, load_pack


class RootIsNoTestPackage:
    """Keeps pytest from importing the pack's __init__.py by itself, as it does above a folder of tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config):
    config.pluginmanager.register(RootIsNoTestPackage())
    config.addinivalue_line("markers", "cpu_only(why): skipped where MGT_DEVICE is another device, and why")
    as_exact_as_can_be()
    load_pack()


def pytest_runtest_setup(item):
    for mark in item.iter_markers("cpu_only"):
        (why,) = mark.args  # a sentence, always
        if not ON_CPU:
            pytest.skip(f"only on a CPU: {why}")


@pytest.fixture(scope="session")
def pack():
    """The pack as ComfyUI has it: NODE_CLASS_MAPPINGS and its kin."""
    return load_pack()


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where tests compute: MGT_DEVICE, by default the CPU."""
    return DEVICE


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the project's golden data, with tiny models of every kind."""
    return OWN


@pytest.fixture(autouse=True)
def frequencies_of_the_tree(request, monkeypatch):
    """Golden tests of Meissonic compare with numbers of a machine that rounded these its own way."""
    if "golden" in request.node.path.name:
        monkeypatch.setattr(ends, "frequencies", frequencies.of_the_tree())
