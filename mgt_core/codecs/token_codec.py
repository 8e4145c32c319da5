"""What codecs of pictures and of sound share: a network, where it computes, and a codebook."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..loading.published import Published
from ..placement import Placement, Resident, room_of
from ..room import Room
from ..sampling.finite import all_finite, non_finite_origin
from ..types import PICTURES, SOUND, TokenState, check_makes

Self = TypeVar("Self", bound="TokenCodec")


@dataclass(frozen=True)
class TokenCodec(Published):
    """Tokens to what they stand for, and back. network: its module."""

    network: nn.Module
    placement: Placement | None = None
    makes: ClassVar[str] = PICTURES

    @property
    @abstractmethod
    def codebook_size(self) -> int: ...

    @property
    @abstractmethod
    def scale(self) -> int:
        """Side in pixels of the square that one token stands for; of sound, samples of a frame."""

    def with_placement(self: Self, placement: Placement) -> Self:
        return replace(self, placement=placement)

    def acquire(self, memory: int = 0) -> torch.device:
        return (self.placement or Resident(self.network)).acquire(memory)

    def room(self) -> Room:
        """Memory of the device to compute on."""
        return room_of(self.placement, self.network)

    def check_codes(self, wanted: int, whose: str) -> None:
        """Raises MGTError unless it has as many codes as are wanted; `whose` says by what."""
        if self.codebook_size != wanted:
            raise MGTError(
                f"codec was made for another model: it has {self.codebook_size} codes, and {whose} {wanted}; take the "
                "codec that belongs to the model"
            )

    def ids_of(self, tokens: TokenState | Tensor, shape: str) -> Tensor:
        """Ids of a state that is filled, or ids as they are, in three dimensions called `shape`.

        Raises MGTError when cells are still masked or ids are not in the codebook."""
        if isinstance(tokens, TokenState):
            if tokens.makes == SOUND:  # others need not say so: they are told by their shape
                check_makes(self.makes, f"decoding to {self.makes}", tokens=tokens)
            left = int(tokens.masked.sum())
            if left:
                raise MGTError(f"{left} of {tokens.tokens.numel()} cells are still masked; sample them before decoding")
            self.check_codes(tokens.codebook_size, "the tokens are of a model with")
            tokens = tokens.tokens
        counted = isinstance(tokens, Tensor) and not (tokens.is_floating_point() or tokens.dtype == torch.bool)
        if not counted or tokens.ndim != 3:
            held = (
                f"{tokens.dtype} of shape {list(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
            )
            raise MGTError(f"tokens are {held}; expected whole numbers of shape {shape}, or a TokenState")
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.codebook_size):
            raise MGTError(
                f"tokens hold codes from {int(tokens.min())} to {int(tokens.max())}; this codec has "
                f"{self.codebook_size}, from 0 to {self.codebook_size - 1}"
            )
        return tokens.long()

    def _check_finite(self, made: Tensor, what: str, evaluate: Callable[[], object]) -> None:
        """Raises MGTError naming the layer where `made`, which `evaluate` makes again, stopped being finite."""
        if not all_finite(made):
            origin = non_finite_origin(self.network, evaluate, "a layer that is worked on in strips")
            raise MGTError(f"the codec made {what} that are not finite numbers; they begin in {origin} of its network")
