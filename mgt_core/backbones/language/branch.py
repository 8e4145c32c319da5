"""Self-Guidance of language models, for which nobody has published a branch."""

from torch import Tensor, nn

from ...errors import MGTError
from ..base import Backbone
from ..branch import FACTOR, Branch
from ..meissonic.branch import PooledBranch


class BlankCanvas(Branch):
    """Nothing comes down: the view of a blank canvas alone. A branch of LLaDA's sizes would have a billion weights."""

    def __init__(self):
        nn.Module.__init__(self)
        self.decoders = nn.ModuleList()

    @classmethod
    def for_network(cls, network: Backbone, factor: int = 0) -> "BlankCanvas":
        return cls()

    def anchor(self, network, prepared) -> Tensor:
        return prepared.words.mean(1)

    def top_down(self, hidden: Tensor, anchor: Tensor) -> list[Tensor]:
        return []

    def train(self, mode: bool = True) -> "BlankCanvas":
        if mode:
            raise MGTError("the branch of a language model has nothing to train: it compares with a blank canvas alone")
        return super().train(mode)


class TopicBranch(PooledBranch):
    """For smaller ones, to be trained. The words stay in the second pass: only the picture is blank, and only its
    values are added to. The anchor comes from the mean of the prompt's embedded words."""

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "TopicBranch":
        return cls(network.config.layers, network.config.width)

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.topic)
