"""The branch of Self-Guidance for Meissonic."""

from ..base import Backbone
from ..branch import FACTOR, Branch, PooledAnchor


class PooledBranch(Branch):
    """For Meissonic, and for aMUSEd as amused/branch.py has it; nobody has published one. The text stays in the second
    pass: only the image is blank, and only the image's values are added to, in joint and single blocks alike. The
    anchor comes from the pooled text and the micro-conditions."""

    def __init__(self, layers: int, width: int):
        super().__init__(layers, width)
        self.cls_anchor_gen = PooledAnchor(width)

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "PooledBranch":
        config = network.config
        return cls(config.num_layers + config.num_single_layers, config.width)

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.pooled)
