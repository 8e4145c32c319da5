"""What a bundle is once it is loaded."""

from dataclasses import dataclass
from pathlib import Path

from ..codecs.token_codec import TokenCodec
from ..conditioning.text import TextEncoder
from ..errors import MGTError
from ..model import MGTModel


@dataclass(frozen=True)
class Pipeline:
    """A loaded bundle. size: (height, width) in pixels that the model was trained at, None for one of sound.

    text: None for models of classes, or where none was wanted. advice: a sentence on parts that go together though
    their authors load others, "" for none. source: file or folder of the transformer's weights, which may hold
    more than the network takes (a Self-Guidance branch).
    """

    model: MGTModel
    text: TextEncoder | None
    codec: TokenCodec
    size: tuple[int, int] | None
    name: str
    source: Path | None = None
    advice: str = ""


def model_of(given: Pipeline | MGTModel, name: str) -> MGTModel:
    """The model of a bundle, or itself. Raises MGTError for anything else; name: the function that was given it."""
    model = given.model if isinstance(given, Pipeline) else given
    if not isinstance(model, MGTModel):
        raise MGTError(f"{name} was given {type(given).__name__}; expected a loaded bundle or its model")
    return model
