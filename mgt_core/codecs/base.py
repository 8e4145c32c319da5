"""What VQ codecs share: images to token ids and back, checked. One file per architecture fills it in."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import MGTError, whole_number
from ..placement import compute_dtype, sent
from ..plain import plain_whole
from ..shares import checked_shares
from ..types import TokenState
from .token_codec import TokenCodec

Shapes = dict[str, tuple[int, ...]]
Part = Callable[[Tensor], Tensor]
PIXELS_AT_ONCE = 2**20  # worked on together: one picture of 1024 x 1024 is work enough for any device
SMALLEST_TILE = 16  # pixels
FALLBACK_TILE = 512

log = logging.getLogger(__name__)


def count(shapes: Shapes, name: str) -> int:
    """How many of `name`, its number filled in from 0, there are."""
    index = 0
    while name.format(index) in shapes:
        index += 1
    return index


def convolutions(tf32: bool) -> AbstractContextManager[None]:
    """Whether a GPU may round what a float32 convolution multiplies to TF32, 10 bits of mantissa, where it can.

    Not to encode, where it moves latents across code borders. To decode it may: pictures stay 60 dB from float32's, and
    44 with bfloat16 (`python -m bench.speed.decode`); float16 has not the range for codecs that say `force_upcast`.
    """
    return rounded("conv", tf32)


@contextmanager
def rounded(kind: str, tf32: bool) -> Iterator[None]:
    """The same for layers that cuDNN calls "conv" or "rnn"."""
    where, name, values = cudnn_setting(kind)
    before = getattr(where, name)
    setattr(where, name, values[tf32])
    try:
        yield
    finally:
        setattr(where, name, before)


def cudnn_setting(kind: str = "conv") -> tuple[Any, str, tuple[Any, Any]]:
    """What holds it, its name, and its values for exact and TF32. Where torch has one for each kind, the older one
    cannot be read by who does not know how they were set."""
    newer = getattr(torch.backends.cudnn, kind, None)
    if hasattr(newer, "fp32_precision"):
        return newer, "fp32_precision", ("ieee", "tf32")
    return torch.backends.cudnn, "allow_tf32", (False, True)


@dataclass(frozen=True)
class Direction:
    """Decoding or encoding. whole: of a few pictures; tiled: of one on its device, in strips of so many cells.
    memory: bytes beside the weights by pixels of a picture and most cells at once. name: of what is done. share: of
    `memory`, what it takes on a CPU. tf32: see `convolutions`."""

    whole: Part
    tiled: Callable[[Tensor, int], Tensor]
    memory: Callable[[int, int | None], int]
    name: str
    share: float = 1.0
    tf32: bool = False

    def layout(self, device: torch.device) -> torch.memory_format:
        """Convolutions of a CPU are faster with the channels of a pixel next to each other, and so are a GPU's in
        TF32; exact ones of a GPU choose by themselves."""
        last = device.type == "cpu" or (device.type == "cuda" and self.tf32)
        return torch.channels_last if last else torch.contiguous_format


@dataclass(frozen=True)
class Codec(TokenCodec):
    """A VQ autoencoder of pictures. network: with the parameter names of the published checkpoints."""

    cpu_share: ClassVar[float] = 1.0  # of `decode_bytes`, what decoding takes on a CPU with its convolutions' own

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

    def decode_note(self, grid: tuple[int, int]) -> str | None:
        """One sentence for a decode that takes more memory than is free. Raises MGTError where it can never have it."""
        pixels = grid[0] * grid[1] * self.scale**2
        return self.memory_note(self.decoding(), pixels)

    def memory_note(self, direction: Direction, pixels: int) -> str | None:
        """Of main memory alone: there convolutions take their own share, and strips keep their maps there as well. On
        other devices a picture that does not fit is worked on in strips."""
        room = self.room()
        if room.device.type != "cpu":
            return None
        needed = round(direction.memory(pixels, None) * direction.share)
        work = f"{direction.name} a picture of {pixels / 1e6:.3g} megapixels"
        return room.note(needed, work, "make a smaller picture")

    def decoding(self, exact: bool = False) -> Direction:
        ways = self._decode, self._decode_tiled
        return Direction(*ways, self.decode_bytes, "decoding", self.cpu_share, tf32=not exact)

    def maps_alive(self, coming: int, width: int) -> int:
        """Channels of all maps that are held at once by a block that is given `coming` channels and gives `width`."""
        return max(2 * coming + width, 3 * width)

    def decode_bytes(self, pixels: int, cells: int | None = None) -> int:
        """Beside the weights, for a picture of so many pixels; cells: of a strip, where it is decoded in strips.

        The maps alive at once where they are largest; what convolutions take for themselves depends on the device."""
        widths = (*self.widths, self.widths[-1])
        return self._bytes(zip(widths, widths[1:], strict=False), pixels, cells)

    def latents_bytes(self, pixels: int, cells: int | None = None) -> int:
        """As `decode_bytes`, for encoding."""
        return self._bytes(zip(self.widths, (self.widths[0], *self.widths), strict=False), pixels, cells)

    def _bytes(self, levels: Iterable[tuple[int, int]], pixels: int, cells: int | None) -> int:
        """levels: channels of each, full resolution first, and those that come to it."""
        most = 0
        for level, (width, coming) in enumerate(levels):
            # In strips: a strip before and after it is normalized, or the map itself where it is one; and the result.
            alive = self.maps_alive(coming, width) if cells is None else max(2 * coming + 2 * width, 4 * width)
            most = max(most, alive * min(pixels // 4**level, cells or pixels))
        return most * compute_dtype(self.network).itemsize

    @torch.inference_mode()
    def decode(self, tokens: TokenState | Tensor, tile_size: int = 0, exact: bool = False) -> Tensor:
        """Tokens (a state, or ids [B, h, w]) -> image [B, h * scale, w * scale, 3] float32 in 0..1.

        tile_size: pixels; 0 decodes whole, and in strips of as many pixels as a tile of 512 x 512 only when the device
        runs out of memory. The picture is the same but for rounding (see tiled.py).
        exact: float32 throughout on a GPU too, instead of TF32 (see `convolutions`).
        Raises MGTError when cells are still masked or ids are not in the codebook.
        """
        tokens = self.ids_of(tokens, "[batch, height, width]")
        return self.decode_codes(self.codes(tokens), tile_size, exact)

    @torch.inference_mode()
    def codes(self, tokens: Tensor) -> Tensor:
        """Codebook vectors [B, D, h, w] of ids [B, h, w]."""
        device = self.acquire()
        return self._vectors(sent(tokens, device)).permute(0, 3, 1, 2).contiguous()

    @torch.inference_mode()
    def decode_codes(self, codes: Tensor, tile_size: int = 0, exact: bool = False) -> Tensor:
        """Codebook vectors [B, D, h, w] -> image [B, H, W, 3] float32 in 0..1."""
        pixels = codes.shape[2] * codes.shape[3] * self.scale**2
        direction = self.decoding(exact)
        image = self._in_parts(codes, pixels, tile_size, direction)
        self._check_finite(image, "pixels", lambda: self._in_parts(codes, pixels, tile_size, direction))
        return image.float().clamp(0, 1).permute(0, 2, 3, 1)

    def _in_parts(self, values: Tensor, pixels: int, tile_size: int, direction: Direction) -> Tensor:
        """A few pictures at a time whole; one in strips, where asked for or out of memory.

        values: [B, ...], each of a picture of so many `pixels`. Raises MGTError for tiles where the architecture
        cannot."""
        tile_size = checked_tile_size(tile_size)
        if tile_size and not self.takes_tiles:
            raise MGTError("this codec works on whole pictures only; set tile_size to 0")
        if note := self.memory_note(direction, pixels):
            log.warning("%s", note)
        if not tile_size:
            try:
                return self._whole(values, pixels, direction)
            except torch.cuda.OutOfMemoryError:
                if not self.takes_tiles:
                    raise
                log.warning("out of memory: once more in tiles of %d pixels", FALLBACK_TILE)
        cells = (tile_size or FALLBACK_TILE) ** 2
        device = self.acquire(direction.memory(pixels, cells))
        with convolutions(direction.tf32):
            return torch.cat([direction.tiled(sent(part, device), cells) for part in values.split(1)])

    def _whole(self, values: Tensor, pixels: int, direction: Direction) -> Tensor:
        images = max(1, PIXELS_AT_ONCE // pixels)
        device = self.acquire(min(images, values.shape[0]) * direction.memory(pixels, None))
        layout = direction.layout(device)
        with convolutions(direction.tf32):
            parts = (sent(part, device).contiguous(memory_format=layout) for part in values.split(images))
            return torch.cat([direction.whole(part) for part in parts])

    @property
    def takes_tiles(self) -> bool:
        """Whether `_decode_tiled` and `_latents_tiled` are there for this network."""
        return False

    def _decode_tiled(self, codes: Tensor, cells: int) -> Tensor:
        """[1, D, h, w] -> [1, 3, H, W] on the same device, computed there in strips of so many cells of a map."""
        raise NotImplementedError

    def _latents_tiled(self, image: Tensor, cells: int) -> Tensor:
        """[1, 3, H, W] -> [1, D, h, w], likewise."""
        raise NotImplementedError

    @torch.inference_mode()
    def latents(self, image: Tensor, tile_size: int = 0) -> Tensor:
        """[B, H, W, 3] float in 0..1 -> encoder output [B, D, h, w], before quantization."""
        image = image.permute(0, 3, 1, 2).to(dtype=compute_dtype(self.network))
        direction = Direction(self._latents, self._latents_tiled, self.latents_bytes, "encoding")
        pixels = image.shape[2] * image.shape[3]
        latents = self._in_parts(image, pixels, tile_size, direction)
        self._check_finite(latents, "latents", lambda: self._in_parts(image, pixels, tile_size, direction))
        return latents

    @torch.inference_mode()
    def encode(self, image: Tensor, tile_size: int = 0) -> Tensor:
        """[B, H, W, 3] float in 0..1 -> ids [B, h, w] long, each the nearest codebook row (Euclidean).

        tile_size: as in decode; rounding may flip a token that lies between two rows. Raises MGTError when a side is no
        multiple of `scale`, and for values that are none of a picture: those that filters leave beside 0..1 are taken
        (see shares.py).
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
        checked_shares("image", image)  # encoded as it is: published implementations cut off nothing
        return self._nearest(self.latents(image, tile_size))


def checked_tile_size(value: int) -> int:
    value = plain_whole(value)
    return 0 if value == 0 else whole_number("tile_size", value, SMALLEST_TILE, 1 << 20)
