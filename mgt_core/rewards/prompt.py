"""How well a picture shows what a prompt says, by networks that hold both in one space."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..conditioning.text import texts_of
from ..errors import MGTError
from ..plain import whole_text
from ..registry import REWARDS
from ..settings import choice, hold
from ..views.pictures import to_pil
from .base import Reward, checked_scores, places_of
from .clip_pair import Pair

UNITS = ("cosine", "logit")


@REWARDS.register("prompt")
@dataclass(frozen=True)
class PromptAgreement(Reward):
    """How near a picture lies to its prompt.

    pair: the networks (scorers.py). prompts: one for all images of a batch, or one for each. unit: cosine, 100 · cos as
    CLIPScore (arXiv 2104.08718, without its factor of 2.5 and its cut at 0, which would make bad pictures alike) and
    HPSv2's benchmark (2306.09341) have it; logit, the cosine times the network's own scale, as PickScore has it
    (2305.01569, section 4): e to the difference of two is how much likelier the one is to be picked.
    """

    pair: Pair = field(default=None, repr=False)
    prompts: tuple[str, ...] = ()
    unit: str = choice("cosine", UNITS)

    def __post_init__(self):
        if not isinstance(self.pair, Pair):
            raise MGTError(f"pair is {self.pair!r}; expected networks of pictures and texts, as load_scorer gives")
        hold(self, prompts=tuple(map(whole_text, texts_of(self.prompts))))
        super().__post_init__()

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        texts = [self.prompts[place] for place in places_of("prompts", len(self.prompts), images)]
        cosines = self.pair.cosines([to_pil(picture) for picture in pictures], texts)
        scale = self.pair.scale if self.unit == "logit" else 100.0
        return checked_scores("the scorer of prompts", scale * cosines, len(pictures))
