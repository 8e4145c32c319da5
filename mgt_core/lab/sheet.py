"""A run of a truth on one sheet: its pictures beside exact ones, how often cells agree, and the distances."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..model import MGTModel
from ..types import TokenState
from ..views.plots import drawn, new_figure
from .backbone import LabBackbone
from .errors import Wrong
from .measures import agreement, distance, diversity, exact_sample, surprise
from .truth import MOST_STATES, Estimate, Predictor, Truth

EXACT = 2048  # draws to compare with
ROWS, COLUMNS = 4, 6  # pictures shown of each side
FEWEST = 20  # pictures that say anything


@dataclass(frozen=True)
class Sheet:
    """image: [1, H, W, 3] float in 0..1. text: the figures, a line each."""

    image: Tensor
    text: str


def truth_of(model: MGTModel) -> Truth:
    """What the model's predictions come from, below its errors. Raises MGTError for a model of no laboratory."""
    if not isinstance(model, MGTModel) or not isinstance(model.network, LabBackbone):
        raise MGTError("the model is none of the laboratory's, so its true distribution is not known")
    predictor: Predictor = model.network.predictor
    while isinstance(predictor, Wrong):
        predictor = predictor.right
    return predictor


def sheet(model: MGTModel, state: TokenState, label: int = 0) -> Sheet:
    """Pictures that were decoded for the class `label` against the truth of that class.

    Raises MGTError for a model of no laboratory, tokens of another one, cells still masked and fewer than 20 pictures.
    """
    truth = truth_of(model)
    tokens = state.tokens.flatten(1).cpu()
    if (state.grid, state.codebook_size) != (truth.grid, truth.codes):
        raise MGTError("the tokens belong to another model than the one given")
    if bool((tokens == truth.mask_id).any()):
        raise MGTError("some tokens are still masked; give the tokens that MGT Sample returns")
    if len(tokens) < FEWEST:
        raise MGTError(f"there are {len(tokens)} pictures; at least {FEWEST} are needed to compare distributions")
    exact = exact_sample(truth, label, EXACT)
    return Sheet(_image(truth, tokens, exact), "\n".join(figures(truth, tokens, exact, label)))


def figures(truth: Truth, tokens: Tensor, exact: Tensor, label: int) -> list[str]:
    """Distances of pictures [B, N] from the truth, each with its 95 % interval or with what chance alone would give."""
    lines = [f"{len(tokens)} pictures"]
    if truth.states <= MOST_STATES and truth.states <= len(tokens) * 20:
        found = distance(truth, tokens, label)
        lines.append(
            f"total variation from the truth {found.value:.3f}; as many exact pictures: {found.null:.3f}, "
            f"up to {found.null_high:.3f} in 39 of 40 samples"
        )
    labels = torch.full((len(tokens),), label)
    sure = surprise(truth, tokens, labels, truth.entropy(label, EXACT)).over(truth.cells)
    lines.append(f"nats a token above the truth's entropy {_told(sure, '+.3f')} (below 0: too sure, too much alike)")
    gap = [Estimate.of(a).minus(Estimate.of(b)) for a, b in zip(*(_neighbours(t, truth) for t in (tokens, exact)))]
    lines.append(f"neighbours that agree, more often than in the truth {_told(gap[0], '+.3f')}")
    ours, theirs = (diversity(t, truth.codes) for t in (tokens, exact))
    lines.append(f"cells in which two pictures differ {_told(ours, '.3f')}; in the truth {theirs.value:.3f}")
    return lines


def _neighbours(tokens: Tensor, truth: Truth) -> Tensor:
    return agreement(tokens, truth.grid, range(1, 2)).T


def _told(estimate: Estimate, form: str) -> str:
    low, high = estimate.interval
    return f"{estimate.value:{form}} ({low:{form}} to {high:{form}})"


def _image(truth: Truth, tokens: Tensor, exact: Tensor) -> Tensor:
    figure = new_figure((11, 4.2))
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.05))
    for axes, shown, title in zip(panels, (tokens, exact), ("decoded", "exact draws of the truth")):
        axes.imshow(
            _tiles(shown, truth), cmap="tab20" if truth.codes > 2 else "Greys", vmin=0, vmax=max(truth.codes, 2)
        )
        axes.set(title=title, xticks=[], yticks=[])
    for shown, title, style in ((tokens, "decoded", "o-"), (exact, "truth", "s--")):
        rates = [Estimate.of(rate) for rate in agreement(shown, truth.grid).T]
        values, errors = [rate.value for rate in rates], [1.96 * rate.error for rate in rates]
        panels[2].errorbar(range(1, len(rates) + 1), values, errors, fmt=style, capsize=3, label=title)
    panels[2].set(
        title="cells that hold the same code", xlabel="distance in cells", ylabel="share of pairs", ylim=(0, 1.02)
    )
    panels[2].xaxis.get_major_locator().set_params(integer=True)
    panels[2].grid(alpha=0.3)
    panels[2].legend()
    return drawn(figure)


def _tiles(tokens: Tensor, truth: Truth) -> Tensor:
    """The first pictures [B, N] in rows, with a blank cell between them. -> [H, W] float, blank as NaN."""
    height, width = truth.grid
    columns = min(COLUMNS, len(tokens))
    rows = min(ROWS, len(tokens) // columns)
    canvas = torch.full((rows, columns, height + 1, width + 1), float("nan"))
    canvas[:, :, :height, :width] = tokens[: rows * columns].reshape(rows, columns, height, width).float()
    return canvas.transpose(1, 2).flatten(2).flatten(0, 1)[:-1, :-1]
