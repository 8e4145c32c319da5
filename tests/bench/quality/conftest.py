"""The built-in model."""

import pytest

import mgt_core
from support.device import HERE


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load("demo", **HERE)
