"""How sound is seen where it is to be read, drawn with matplotlib: spectra, and what a run did, frame by frame."""

import torch
from torch import Tensor

from ..errors import finite_number
from ..sound import checked_rate, checked_wave
from ..types import TokenState
from .colours import GIVEN_COLOUR
from .pictures import recorded
from .plots import drawn, new_figure
from .sound_preview import SoundPreviewer as SoundPreviewer
from .spectrum import RANGE, loudness, mel

ROWS, COLUMNS = 200, 900  # of a spectrum
MARKS = (0, 100, 200, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)  # Hz
EMPTY_COLOUR = "white"


def spectrogram(wave: Tensor, sample_rate: int) -> Tensor:
    """The spectra of sounds [B, C, S], the mean of their channels, over seconds and Hz; a bar says how loud, in dB (0
    for a full sine). -> images [B, H, W, 3] float in 0..1."""
    rate = checked_rate("sample_rate", sample_rate)
    return torch.cat([spectrum_chart(each.float().mean(0), rate) for each in checked_wave(wave)])


def spectrum_chart(wave: Tensor, rate: int) -> Tensor:
    """[S] -> [1, H, W, 3]."""
    levels = loudness(wave, rate, ROWS, COLUMNS)
    loudest = float(levels.max())
    figure = new_figure((10, 4))
    axes = figure.subplots()
    top = float(mel(torch.tensor(rate / 2)))
    extent = (0, len(wave) / rate, 0, top)
    shown = axes.imshow(
        levels.numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=loudest - RANGE,
        vmax=loudest,
        cmap="viridis",
        interpolation="nearest",
    )
    marks = [mark for mark in MARKS if mark <= rate / 2]
    axes.set_yticks([float(mel(torch.tensor(float(mark)))) for mark in marks], [f"{mark}" for mark in marks])
    axes.set(xlabel="seconds", ylabel="Hz")
    figure.colorbar(shown, label="dB", pad=0.01)
    return drawn(figure)


def reveal_chart(state: TokenState, seconds_per_frame: float) -> Tensor:
    """Step at which each token was fixed, time by code book: dark first, yellow last, grey given, white not filled.
    -> [B, H, W, 3].

    Raises MGTError when the tokens carry no recording."""
    return charts(state, recorded(state.revealed_at, "reveal order").float() + 1, seconds_per_frame, "step")


def confidence_chart(state: TokenState, seconds_per_frame: float) -> Tensor:
    """Probability of each token when it was drawn, in the same form: dark 0, yellow 1."""
    probability = recorded(state.confidence, "confidence").float().exp()
    return charts(state, probability, seconds_per_frame, "probability", 1.0)


def charts(state: TokenState, values: Tensor, seconds_per_frame: float, label: str, top: float | None = None) -> Tensor:
    """One for each of the batch. values: [B, K, T]. top: where the colours end, by default with the largest."""
    seconds = finite_number("seconds_per_frame", seconds_per_frame, 1e-6, 1e6)
    filled = ~state.masked.cpu()
    drawn_here = filled & (recorded(state.revealed_at, "reveal order") >= 0)
    shown = [chart(*each, seconds, label, top) for each in zip(values, drawn_here, filled & ~drawn_here, strict=True)]
    return torch.cat(shown)


def chart(values: Tensor, valid: Tensor, given: Tensor, seconds: float, label: str, top: float | None) -> Tensor:
    """[K, T] each -> [1, H, W, 3]."""
    books, frames = values.shape
    figure = new_figure((10, 1.6 + 0.3 * min(books, 16)))
    axes = figure.subplots()
    axes.set_facecolor(EMPTY_COLOUR)
    extent = (0, frames * seconds, books + 0.5, 0.5)
    how = {"aspect": "auto", "extent": extent, "interpolation": "nearest"}
    grey = torch.tensor((*GIVEN_COLOUR, 1.0)) * given[..., None]
    axes.imshow(grey.numpy(), **how)
    low = 0.0 if top is not None else 1.0
    high = top if top is not None else max(float(values[valid].max()) if bool(valid.any()) else low, low + 1)
    seen = values.masked_fill(~valid, float("nan")).numpy()
    image = axes.imshow(seen, vmin=low, vmax=high, cmap="viridis", **how)
    axes.set(xlabel="seconds", ylabel="code book")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_yticks(range(1, books + 1, max(1, books // 8)))
    bar = figure.colorbar(image, label=label, pad=0.01)
    if top is None:
        bar.locator.set_params(integer=True)
        bar.update_ticks()
    return drawn(figure)
