"""The truths as models, ready for `sample`."""

from collections.abc import Sequence

from ..model import MGTModel
from .backbone import lab_model
from .codewords import Codewords
from .errors import ModelError, spoiled
from .potts import Potts
from .quadtree import Quadtree


def potts_model(errors: Sequence[ModelError] = (), **settings) -> MGTModel:
    """A small Potts field (see Potts for the settings), with errors or exact."""
    return lab_model(spoiled(Potts(**settings), errors))


def quadtree_model(errors: Sequence[ModelError] = (), **settings) -> MGTModel:
    """A Markov model on a quadtree (see Quadtree for the settings), with errors or exact."""
    return lab_model(spoiled(Quadtree(**settings), errors))


def codewords_model(errors: Sequence[ModelError] = (), **settings) -> MGTModel:
    """A mixture of noisy code words (see Codewords for the settings), with errors or exact."""
    return lab_model(spoiled(Codewords(**settings), errors))
