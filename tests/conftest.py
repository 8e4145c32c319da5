"""The pack and the golden data for all tests."""

from pathlib import Path

import pytest

from mgt_core.backbones.meissonic import ends
from support import frequencies
from support.golden import OWN
from support.pack import ROOT, load_pack


class RootIsNoTestPackage:
    """Keeps pytest from importing the pack's __init__.py by itself, as it does above a folder of tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config):
    config.pluginmanager.register(RootIsNoTestPackage())
    load_pack()


@pytest.fixture(scope="session")
def pack():
    """The pack as ComfyUI has it: NODE_CLASS_MAPPINGS and its kin."""
    return load_pack()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the project's golden data, with tiny models of every kind."""
    return OWN


@pytest.fixture(autouse=True)
def frequencies_of_the_tree(request, monkeypatch):
    """Golden tests of Meissonic compare with numbers of a machine that rounded these its own way."""
    if "golden" in request.node.path.name:
        monkeypatch.setattr(ends, "frequencies", frequencies.of_the_tree())
