"""Token merging in the library."""

from dataclasses import replace

import pytest
from golden_data import bundles, pipeline

import mgt_core

PIPE = pipeline(bundles()[0])


class PlainNetwork(type(PIPE.model.network)):
    """A backbone that heeds no patch."""

    supports = frozenset()


def test_a_backbone_that_cannot_merge_says_so():
    network = PlainNetwork(PIPE.model.network.config)
    with pytest.raises(mgt_core.MGTError, match="does not work with the PlainNetwork .* works with .*meissonic"):
        replace(PIPE.model, network=network).with_token_merging()
