"""How the weights of an architecture are published: what backbones and codecs say of their checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar


class Published(ABC):
    """An architecture as files hold it."""

    needs_config: ClassVar[bool] = True  # False where all sizes can be read from the tensors

    @staticmethod
    @abstractmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        """Whether a checkpoint with this config and these tensors is of this architecture."""

    @classmethod
    @abstractmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        """Size of its codebook, by which the codec of a transformer is told; None where config and tensors say none."""

    @staticmethod
    def leaves(name: str) -> bool:
        """Whether a file of this architecture may hold the tensor `name` though the network has no place for it."""
        return False

    @staticmethod
    def renamed(name: str) -> str:
        """What the network calls the tensor `name` of a file."""
        return name

    @classmethod
    def divided(cls, name: str, shape: tuple[int, ...]) -> Mapping[str, slice | None]:
        """What the network makes of the tensor `name` of a file: its own names, and the rows of each, None for all."""
        return {cls.renamed(name): None}

    @classmethod
    def text_encoder_in(cls, config: dict) -> str:
        """The repository of the text encoder that a checkpoint names and does not bring; "" for none."""
        return ""
