"""Self-Guidance of language models: by the view of a blank canvas alone."""

from torch import Tensor, nn

from ...errors import MGTError
from ..base import Backbone
from ..branch import Branch


class BlankCanvas(Branch):
    """Nothing comes down. A branch of LLaDA's sizes would have a billion weights, and nobody has trained one."""

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
