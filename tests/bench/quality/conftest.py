"""The built-in model."""

import pytest
import torch

import mgt_core


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load("demo", dtype=torch.float32, device="cpu")
