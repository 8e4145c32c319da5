"""What tests of parts from elsewhere begin with."""

from pathlib import Path

import pytest

from support.bundles import copy_bundle
from support.encoders import clip_model


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A golden bundle, to be changed."""
    return copy_bundle(tmp_path / "bundle")


@pytest.fixture
def clip(tmp_path) -> Path:
    """A whole CLIP model, of which the text side fits the bundle."""
    return clip_model(tmp_path / "CLIP-tiny")
