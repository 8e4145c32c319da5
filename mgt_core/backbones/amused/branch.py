"""The branch of Self-Guidance for aMUSEd."""

from ..base import Backbone
from ..branch import FACTOR
from ..meissonic.branch import PooledBranch


class AmusedBranch(PooledBranch):
    """Which nobody has published. The text stays in the second pass: only the image is blank, and what comes from above
    joins the values of the image's attention to itself. The anchor comes from the pooled text and the
    micro-conditions."""

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "AmusedBranch":
        return cls(network.config.num_hidden_layers, network.config.hidden_size)
