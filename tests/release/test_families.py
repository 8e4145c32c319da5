"""Every architecture is in the table of families and techniques."""

import mgt_core
from support.families import FAMILIES


def test_every_backbone_has_a_tiny_bundle():
    missing = set(mgt_core.BACKBONES) - set(FAMILIES)
    assert missing == set(), "make a tiny bundle of each in tests/support/bundles.py, and name it in families.py"
