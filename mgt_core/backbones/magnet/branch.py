"""The branch of Self-Guidance for MAGNeT."""

from ..base import Backbone
from ..branch import FACTOR
from ..meissonic.branch import PooledBranch


class MagnetBranch(PooledBranch):
    """Which nobody has published. The text and the other code books stay in the second pass: only the book of the stage
    is blank, and what comes from above joins the values of the frames' attention to each other. The anchor comes from
    the mean of the text's rows."""

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "MagnetBranch":
        return cls(network.config.layers, network.config.dim)
