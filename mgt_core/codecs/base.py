"""What VQ codecs share: images to token ids and back, checked. One file per architecture fills it in."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import MGTError, whole_number
from ..loading.published import Published
from ..placement import Placement, Resident, compute_dtype
from ..types import TokenState

Shapes = dict[str, tuple[int, ...]]
Part = Callable[[Tensor], Tensor]
TiledPart = Callable[[Tensor, torch.device, int], Tensor]
PIXELS_AT_ONCE = 2**21  # worked on together: two 1024 x 1024 images
SMALLEST_TILE = 16  # pixels
FALLBACK_TILE = 512
TILE_BYTES = 48  # beside the weights, a pixel of a tile and full-resolution channel: about a dozen float32 maps

log = logging.getLogger(__name__)


def count(shapes: Shapes, name: str) -> int:
    """How many of `name`, its number filled in from 0, there are."""
    index = 0
    while name.format(index) in shapes:
        index += 1
    return index


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """No TF32, which torch allows for convolutions by default: it moves latents across code borders."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


@dataclass(frozen=True)
class Codec(Published):
    """A VQ autoencoder. network: its module, with the parameter names of the published checkpoints."""

    network: nn.Module
    placement: Placement | None = None

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return shapes["quantize.embedding.weight"][0]

    @staticmethod
    @abstractmethod
    def build(config: dict, shapes: Shapes) -> nn.Module:
        """The network that holds tensors of these shapes; the config is empty where the checkpoint has none."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, full resolution first; a level has half the side of the one before."""

    @property
    def full_width(self) -> int:
        """Channels of the layers that work on all pixels."""
        return self.widths[0]

    @property
    def scale(self) -> int:
        """Side in pixels of the square that one token stands for."""
        return 2 ** (len(self.widths) - 1)

    @property
    def codebook(self) -> nn.Embedding:
        """A row for every id."""
        return self.network.quantize.embedding

    @property
    def codebook_size(self) -> int:
        return self.codebook.num_embeddings

    def _vectors(self, tokens: Tensor) -> Tensor:
        """Codebook rows [..., D] of ids [...]."""
        return self.codebook(tokens)

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, 3, H, W], 0..1 but for overshoot."""

    @abstractmethod
    def _latents(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 -> encoder output [B, D, h, w]."""

    def _nearest(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] -> ids [B, h, w] of the nearest codebook rows (Euclidean)."""
        rows = self._vectors(torch.arange(self.codebook_size, device=latents.device))
        return torch.cdist(latents.permute(0, 2, 3, 1).flatten(1, 2), rows).argmin(-1).unflatten(1, latents.shape[2:])

    def with_placement(self, placement: Placement) -> "Codec":
        return replace(self, placement=placement)

    def acquire(self, memory: int = 0) -> torch.device:
        return (self.placement or Resident(self.network)).acquire(memory)

    @torch.inference_mode()
    def decode(self, tokens: TokenState | Tensor, tile_size: int = 0) -> Tensor:
        """Tokens (a state, or ids [B, h, w]) -> image [B, h * scale, w * scale, 3] float32 in 0..1.

        tile_size: pixels; 0 decodes whole, and in tiles only when the device runs out of memory. The
        picture is the same but for rounding (see tiled.py).
        Raises MGTError when cells are still masked or ids are not in the codebook.
        """
        if isinstance(tokens, TokenState):
            left = int(tokens.masked.sum())
            if left:
                raise MGTError(f"{left} of {tokens.tokens.numel()} cells are still masked; sample them before decoding")
            tokens = tokens.tokens
        if not isinstance(tokens, Tensor) or tokens.ndim != 3 or tokens.is_floating_point():
            held = (
                f"{tokens.dtype} of shape {list(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
            )
            raise MGTError(
                f"tokens are {held}; expected whole numbers of shape [batch, height, width], or a TokenState"
            )
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.codebook_size):
            raise MGTError(
                f"tokens hold ids from {int(tokens.min())} to {int(tokens.max())}; "
                f"this codec takes 0 to {self.codebook_size - 1}"
            )
        return self.decode_codes(self.codes(tokens), tile_size)

    @torch.inference_mode()
    def codes(self, tokens: Tensor) -> Tensor:
        """Codebook vectors [B, D, h, w] of ids [B, h, w]."""
        device = self.acquire()
        return self._vectors(tokens.to(device)).permute(0, 3, 1, 2).contiguous()

    @torch.inference_mode()
    def decode_codes(self, codes: Tensor, tile_size: int = 0) -> Tensor:
        """Codebook vectors [B, D, h, w] -> image [B, H, W, 3] float32 in 0..1."""
        pixels = codes.shape[2] * codes.shape[3] * self.scale**2
        image = self._in_parts(codes, pixels, tile_size, self._decode, self._decode_tiled)
        return image.float().clamp(0, 1).permute(0, 2, 3, 1)

    def _in_parts(self, values: Tensor, pixels: int, tile_size: int, whole: Part, tiled: TiledPart) -> Tensor:
        """`whole` of a few pictures at a time; `tiled` of one, where asked for or out of memory.

        values: [B, ...], each of a picture of so many `pixels`. Raises MGTError for tiles where the architecture
        cannot."""
        check_tile_size(tile_size)
        if tile_size and not self.takes_tiles:
            raise MGTError("this codec works on whole pictures only; set tile_size to 0")
        if not tile_size:
            try:
                return self._whole(values, pixels, whole)
            except torch.cuda.OutOfMemoryError:
                if not self.takes_tiles:
                    raise
                log.warning("out of memory: once more in tiles of %d pixels", FALLBACK_TILE)
        side = tile_size or FALLBACK_TILE
        device = self.acquire(side**2 * self.full_width * TILE_BYTES)
        with exact_convolutions():
            return torch.cat([tiled(part, device, side) for part in values.split(1)])

    def _whole(self, values: Tensor, pixels: int, whole: Part) -> Tensor:
        images = max(1, PIXELS_AT_ONCE // pixels)
        # About three float32 maps of the widest full-resolution layer are alive at once.
        device = self.acquire(min(images, values.shape[0]) * pixels * self.full_width * 12)
        # A CPU's convolutions are faster with the channels of a pixel next to each other; GPUs choose by themselves.
        layout = torch.channels_last if device.type == "cpu" else torch.preserve_format
        with exact_convolutions():
            return torch.cat([whole(part.to(device, memory_format=layout)) for part in values.split(images)])

    @property
    def takes_tiles(self) -> bool:
        """Whether `_decode_tiled` and `_latents_tiled` are there for this network."""
        return False

    def _decode_tiled(self, codes: Tensor, device: torch.device, side: int) -> Tensor:
        """[1, D, h, w] -> [1, 3, H, W] on the CPU, computed on `device` in tiles of `side` pixels."""
        raise NotImplementedError

    def _latents_tiled(self, image: Tensor, device: torch.device, side: int) -> Tensor:
        """[1, 3, H, W] -> [1, D, h, w] on `device`, computed there in tiles of `side` pixels."""
        raise NotImplementedError

    @torch.inference_mode()
    def latents(self, image: Tensor, tile_size: int = 0) -> Tensor:
        """[B, H, W, 3] float in 0..1 -> encoder output [B, D, h, w], before quantization."""
        image = image.permute(0, 3, 1, 2).to(dtype=compute_dtype(self.network))
        return self._in_parts(image, image.shape[2] * image.shape[3], tile_size, self._latents, self._latents_tiled)

    @torch.inference_mode()
    def encode(self, image: Tensor, tile_size: int = 0) -> Tensor:
        """[B, H, W, 3] float in 0..1 -> ids [B, h, w] long, each the nearest codebook row (Euclidean).

        tile_size: as in decode; rounding may flip a token that lies between two rows. Raises MGTError when a
        side is no multiple of `scale`.
        """
        if not isinstance(image, Tensor) or not image.is_floating_point():
            held = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise MGTError(f"image is {held}; expected a tensor of floats in 0 to 1")
        sides = image.shape[1:3]
        if (
            image.ndim != 4
            or image.shape[-1] != 3
            or min(sides) < self.scale
            or any(side % self.scale for side in sides)
        ):
            raise MGTError(
                f"image has shape {list(image.shape)}; expected [batch, height, width, 3] "
                f"with sides that are multiples of {self.scale}"
            )
        return self._nearest(self.latents(image, tile_size))


def check_tile_size(value: int) -> None:
    if value != 0:
        whole_number("tile_size", value, SMALLEST_TILE, 1 << 20)
