"""Pictures of a run in progress: the tokens known so far, masked cells shown as such."""

from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from ..codecs.base import Codec
from ..codecs.token_codec import TokenCodec
from ..types import SOUND, TokenState
from .colours import checkerboard
from .sound_preview import SoundPreviewer

SAMPLES = 256  # codes decoded to learn the colours of all


def previewer_of(codec: TokenCodec) -> "Previewer | SoundPreviewer":
    """What draws the tokens that a codec decodes."""
    return SoundPreviewer(codec) if codec.makes == SOUND else Previewer(codec)


class Previewer:
    """Draws token states. Keep one per run: it remembers the colours of the codebook."""

    def __init__(self, codec: Codec):
        self.codec = codec

    @cached_property
    def colours(self) -> Tensor:
        """[V, 3] uint8 on the CPU, about the mean colour each code decodes to when it fills the picture.

        A linear map from codebook vectors to colours, fitted on SAMPLES codes: decoding them all would
        take longer than the run.
        """
        size = self.codec.codebook_size
        ids = torch.linspace(0, size - 1, min(SAMPLES, size)).round().long()
        seen = [self.codec.decode(part[:, None, None].expand(-1, 2, 2)).mean((1, 2)) for part in ids.split(64)]
        vectors = self.codec.codes(torch.arange(size)[None, None])[0, :, 0].T.float().cpu()
        vectors = torch.cat([vectors, torch.ones(size, 1)], dim=1)
        # The small ridge keeps codebooks wider than the sample solvable.
        known, ridge = vectors[ids], 1e-3 * torch.eye(vectors.shape[1])
        weights = torch.linalg.solve(known.T @ known + ridge, known.T @ torch.cat(seen).cpu())
        return ((vectors @ weights).clamp(0, 1) * 255).round().to(torch.uint8)

    def image(self, state: TokenState, full: bool = True, index: int = 0) -> Image.Image:
        """Image `index` of the batch. full: decode the known tokens, at [h * scale, w * scale] pixels;
        otherwise one pixel a token in the code's mean colour, at a small fraction of the cost."""
        one = TokenState(
            state.tokens[index : index + 1], state.fixed[index : index + 1], state.mask_id, state.codebook_size
        )
        masked = one.masked[0].cpu()
        pixels, cell = self._decoded(one) if full else (self.colours[known_tokens(one)[0].cpu()], 1)
        masked = masked.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        return Image.fromarray(torch.where(masked[..., None], checkerboard(masked.shape, cell), pixels).numpy())

    def _decoded(self, state: TokenState) -> tuple[Tensor, int]:
        codes = self.codec.codes(known_tokens(state))
        # Masked cells get the mean of the known ones, so that what is known keeps its look at the borders.
        masked = state.masked[:, None].to(codes.device)
        known = (~masked).sum().clamp_min(1)
        mean = codes.masked_fill(masked, 0).sum((2, 3), keepdim=True) / known
        image = self.codec.decode_codes(torch.where(masked, mean, codes))[0]
        return (image.cpu() * 255).round().to(torch.uint8), self.codec.scale


def known_tokens(state: TokenState) -> Tensor:
    """[B, h, w] ids with 0 where masked."""
    return state.tokens.masked_fill(state.masked, 0)
