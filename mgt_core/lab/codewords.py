"""A truth with several modes: noisy copies of a few code words."""

import torch
from torch import Tensor

from ..errors import MGTError, finite_number, whole_number
from ..sampling.draws import cpu_generator
from ..types import UNCONDITIONAL
from .truth import Truth, checked_sizes, draw_rows, pick, with_mixture


class Codewords(Truth):
    """A picture is one of `words` fixed grids, each as likely, in which every cell is with probability `flip` replaced
    by any code, each as likely.

    classes: word m is of class m modulo classes. seed: of the words, which are drawn once.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        codes: int = 8,
        words: int = 8,
        flip: float = 0.2,
        classes: int = 1,
        seed: int = 0,
    ):
        self.grid, codes, classes = checked_sizes(grid, codes, classes)
        self.codes, self.classes = codes, classes
        words, flip = whole_number("words", words, 1, 4096), finite_number("flip", flip, 0.001, 1)
        if classes > words:
            raise MGTError(f"there are {classes} classes and {words} words; every class needs a word")
        self.words = torch.randint(codes, (words, self.cells), generator=cpu_generator(seed))
        self.flip = flip
        own = (torch.arange(words) % classes == torch.arange(classes)[:, None]).double()
        self.prior = with_mixture((own / own.sum(1, keepdim=True)).log())  # [classes + 1, M]
        self.chances = torch.full((self.cells, words, codes), flip / codes, dtype=torch.float64)  # [N, M, V]
        self.chances.scatter_(2, self.words.T[..., None], 1 - flip + flip / codes)
        silent = torch.zeros(self.cells, 1, words, dtype=torch.float64)
        self.evidence = torch.cat([self.chances.log().transpose(1, 2), silent], 1)  # [N, V + 1, M], the mask's last

    def told(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """log p(known cells, word) [B, M], and what each cell adds to it [B, N, M]."""
        own = self.evidence[torch.arange(self.cells), tokens]
        return pick(self.prior, labels) + own.sum(1), own

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        joint, own = self.told(tokens, labels)
        others = (joint[:, None] - own).float().softmax(-1)
        return torch.einsum("bnm,nmv->bnv", others, self.chances.float()).log()

    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return self.told(tokens, labels)[0].logsumexp(-1)

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        chosen = self.words[draw_rows(pick(self.prior, labels).exp(), generator)]
        fresh = torch.randint(self.codes, chosen.shape, generator=generator)
        return torch.where(torch.rand(chosen.shape, generator=generator) < self.flip, fresh, chosen)

    def word_of(self, tokens: Tensor) -> Tensor:
        """[B] long: the likeliest word of each grid."""
        return self.told(tokens, torch.full((len(tokens),), UNCONDITIONAL))[0].argmax(-1)

    def word_entropy(self, tokens: Tensor) -> Tensor:
        """[B] float64, in nats: how uncertain it is which word a grid is of."""
        chances = self.told(tokens, torch.full((len(tokens),), UNCONDITIONAL))[0].softmax(-1)
        return -torch.special.xlogy(chances, chances).sum(-1)
