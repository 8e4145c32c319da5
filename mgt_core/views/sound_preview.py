"""Pictures of sound while it is made: its tokens, and the spectrum of what they decode to."""

from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..codecs.encodec import EnCodec
from ..types import TokenState
from .colours import checkerboard, colour_map
from .spectrum import loudness, shares_of

COLUMNS = 500  # of pixels about, that a sound is drawn in: one a frame of ten seconds
MOST_COLUMNS = 2048
WIDEST = 16  # pixels of a frame
ROW = 16  # pixels of a code book
ROWS = 160  # pixels of a spectrum


class SoundPreviewer:
    """Draws token states of sound. Keep one per run: it remembers the colours of the code books."""

    def __init__(self, codec: EnCodec):
        self.codec = codec

    @cached_property
    def colours(self) -> Tensor:
        """[K, V, 3] uint8 on the CPU: codes of a book by their place along the three directions in which its rows
        differ most, so that what is alike has like colours."""
        books = [by_directions(rows.float().cpu()) for rows in self.codec.tables]
        return (torch.stack(books) * 255).round().to(torch.uint8)

    def image(self, state: TokenState, full: bool = True, index: int = 0) -> Image.Image:
        """Sound `index` of the batch: a row of pixels for each code book, the first one on top, a colour a code. full:
        above it the spectrum of what the known tokens decode to, low frequencies below; frames of which nothing is
        known are shown as such."""
        tokens = state.tokens[index : index + 1]
        known = (tokens != state.mask_id).cpu()[0]
        frames = tokens.shape[2]
        width = min(max(1, min(WIDEST, round(COLUMNS / frames))) * frames, MOST_COLUMNS)
        column = torch.arange(width) * frames // width  # the frame that each column of pixels shows
        ids = tokens[0].cpu().masked_fill(~known, 0)
        pixels = self.colours[torch.arange(len(ids))[:, None], ids][:, column].repeat_interleave(ROW, 0)
        parts = [covered(pixels, known[:, column].repeat_interleave(ROW, 0))]
        if full:
            heard = known.any(0)[column].expand(ROWS, -1)
            parts.insert(0, covered(self._spectrum(tokens, state.mask_id, width), heard))
        return Image.fromarray(torch.cat(parts).numpy())

    def _spectrum(self, tokens: Tensor, mask_id: int, width: int) -> Tensor:
        """[ROWS, width, 3] uint8. A frame is decoded by the books that are known of it, one without any as the mean of
        the others, so that what is known keeps its look at the borders."""
        known = tokens != mask_id
        vectors = self.codec.vectors(tokens.masked_fill(~known, 0), known)
        empty = ~known.any(1, keepdim=True).to(vectors.device)
        mean = vectors.sum(2, keepdim=True) / (~empty).sum(2, keepdim=True).clamp_min(1)
        wave = self.codec.decode_vectors(torch.where(empty, mean, vectors))[0, 0]
        levels = loudness(wave, self.codec.sample_rate, ROWS, width)
        return (colour_map(shares_of(levels.flip(0))) * 255).round().to(torch.uint8)


def covered(pixels: Tensor, known: Tensor) -> Tensor:
    """[H, W, 3] uint8 with a checkerboard where nothing is known [H, W]."""
    return torch.where(known[..., None], pixels, checkerboard(known.shape, ROW))


def by_directions(rows: Tensor) -> Tensor:
    """[V, D] -> [V, 3] in 0..1, the places of rows along their three principal directions."""
    centred = rows - rows.mean(0)
    directions = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :3]
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()  # either sign fits
    places = F.pad(centred @ directions, (0, 3 - directions.shape[1]))
    ranks = places.argsort(0).argsort(0)  # evenly, whatever lies far outside
    return ranks / max(1, len(rows) - 1)
