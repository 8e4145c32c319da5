"""The branch of Self-Guidance for language models, which nobody has published."""

from ..base import Backbone
from ..branch import FACTOR
from ..meissonic.branch import PooledBranch


class SequenceBranch(PooledBranch):
    """The words stay in the second pass: only the picture is blank, and only its values are added to. The anchor comes
    from the mean of the prompt's embedded words, as Meissonic's comes from its pooled text."""

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "SequenceBranch":
        return cls(network.depth, network.row_width)

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.topic)
