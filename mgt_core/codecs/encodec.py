"""EnCodec (arXiv 2210.13438): sound to tokens of several code books a frame, and back, by transformers' EncodecModel.

Published with MAGNeT in the names of its authors and a config of their solver, or by transformers. What either config
leaves out, such as how many books there are, is read from the tensors.
"""

import re
from collections.abc import Mapping
from math import ceil, log2, prod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError, whole_number
from ..loading.building import like
from ..loading.references import resolved
from ..placement import compute_dtype, sent
from ..pulse import beat_before
from ..registry import CODECS
from ..types import SOUND, TokenState
from .base import convolutions, rounded
from .token_codec import TokenCodec

Shapes = Mapping[str, tuple[int, ...]]
# Names of transformers for those of the authors.
RENAMED = (
    (re.compile(r"^(encoder|decoder)\.model\."), r"\1.layers."),
    (re.compile(r"\.(?:conv\.conv|convtr\.convtr)\."), ".conv."),
    (re.compile(r"\.norm\.norm\."), ".norm."),
    (re.compile(r"^quantizer\.vq\.layers\.(\d+)\._codebook\."), r"quantizer.layers.\1.codebook."),
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)
CODEBOOK = "quantizer.layers.{}.codebook.embed"
PUBLISHED_CODEBOOK = "quantizer.vq.layers.{}._codebook.embed"
# Of transformers' config, by where the config of the authors' solver has them.
PUBLISHED = {
    "sampling_rate": "encodec.sample_rate",
    "audio_channels": "encodec.channels",
    "normalize": "encodec.renormalize",
    "use_causal_conv": "encodec.causal",
    "hidden_size": "seanet.dimension",
    "num_filters": "seanet.n_filters",
    "num_residual_layers": "seanet.n_residual_layers",
    "upsampling_ratios": "seanet.ratios",
    "norm_type": "seanet.norm",
    "kernel_size": "seanet.kernel_size",
    "last_kernel_size": "seanet.last_kernel_size",
    "residual_kernel_size": "seanet.residual_kernel_size",
    "dilation_growth_rate": "seanet.dilation_base",
    "pad_mode": "seanet.pad_mode",
    "compress": "seanet.compress",
    "num_lstm_layers": "seanet.lstm",
    "trim_right_ratio": "seanet.decoder.trim_right_ratio",
}
# What EncodecModel has in one way alone: where it is said, and how it has to be.
ALONE = {
    "encodec.autoencoder": "seanet",
    "encodec.quantizer": "rvq",
    "seanet.activation": "ELU",
    "seanet.disable_norm_outer_blocks": 0,
    "seanet.decoder.final_activation": None,
}
EXAMPLES = {
    "sampling_rate": 32000,
    "audio_channels": 1,
    "normalize": False,
    "chunk_length_s": None,
    "use_causal_conv": False,
    "hidden_size": 128,
    "num_filters": 64,
    "num_residual_layers": 1,
    "upsampling_ratios": (8, 5, 4, 4),
    "norm_type": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "pad_mode": "constant",
    "compress": 2,
    "num_lstm_layers": 2,
    "trim_right_ratio": 1.0,
    "use_conv_shortcut": False,
}
PAD_MODES = ("constant", "reflect", "replicate")
HIGHEST_RATE = 2**20  # samples per second
LONGEST = 2**24 - 1  # samples of a sound: EncodecModel counts them in float32
TOGETHER = 2**20  # samples of the sounds that are worked on at once, three of ten seconds at 32 kHz
ALIVE = 5  # maps of the widest level that are held at once


def told_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What either form of config says, by transformers' names, each of the kind that it has to be.

    Raises MGTError for what EncodecModel cannot be, and for sound whose tokens alone do not say what it is."""
    if "seanet" in config:
        for path, alone in ALONE.items():
            if (found := resolved(config, path, alone)) != alone:
                raise MGTError(f"config has {path} {found!r}; this codec takes {alone!r} alone")
        held = {name: resolved(config, path) for name, path in PUBLISHED.items()}
        skip = like({"true_skip": True}, {"true_skip": resolved(config, "seanet.true_skip")})
        held["use_conv_shortcut"] = not skip["true_skip"]
    else:
        held = dict(config)
    told = like(EXAMPLES, held)
    if told.get("audio_channels", 1) != 1:
        raise MGTError(f"it is a codec of {told['audio_channels']} channels; accepted are those of one")
    if told.get("normalize") or told.get("chunk_length_s") is not None:
        raise MGTError("it normalizes or cuts sound before it encodes it, which tokens alone do not tell; take another")
    if told.get("pad_mode", PAD_MODES[0]) not in PAD_MODES:
        raise MGTError(f"config has pad_mode {told['pad_mode']!r}; accepted are {', '.join(PAD_MODES)}")
    if "trim_right_ratio" in told:
        told["trim_right_ratio"] = float(told["trim_right_ratio"])  # newer transformers take no 1 for it
    return told


def books_in(shapes: Shapes) -> list[tuple[int, ...]]:
    """Shape (codes, width) of every code book, in either form of names."""
    own = CODEBOOK if CODEBOOK.format(0) in shapes else PUBLISHED_CODEBOOK
    found: list[tuple[int, ...]] = []
    while (name := own.format(len(found))) in shapes:
        found.append(shapes[name])
    return found


def config_of(config: Mapping[str, Any], shapes: Shapes) -> Any:
    """transformers' config of a network with these code books.

    Its number of books follows from a bandwidth, which versions count by the bits of a code or by ten."""
    from transformers import EncodecConfig

    told, books = told_by(config), books_in(shapes)
    codes, width = books[0]
    bits = log2(whole_number("the number of codes", codes, 2, 2**24))
    made = EncodecConfig(**told, codebook_size=codes, codebook_dim=width)
    whole_number("sampling_rate", made.sampling_rate, 1, HIGHEST_RATE)
    whole_number("the samples of a frame", prod(made.upsampling_ratios), 1, HIGHEST_RATE)
    rate = ceil(made.sampling_rate / prod(made.upsampling_ratios))
    for counted in (bits, 10):
        made.target_bandwidths = [(len(books) + 0.5) * rate * counted / 1000]  # half a book from where it is rounded
        if made.num_quantizers == len(books):
            return made
    raise MGTError(f"the installed transformers cannot build a codec of {len(books)} books of {codes} codes")


def with_sizes(network: nn.Module) -> nn.Module:
    """`network` with the sizes of its convolutions as constants of the CPU, which `length` is compared with there; they
    are buffers that no file holds."""
    for module in network.modules():
        if "padding_total" not in module._buffers:
            continue
        stride, kernel = module.conv.stride[0], (module.conv.kernel_size[0] - 1) * module.conv.dilation[0] + 1
        for name, size in (("stride", stride), ("kernel_size", kernel), ("padding_total", kernel - stride)):
            delattr(module, name)
            setattr(module, name, torch.tensor(size, device="cpu"))
    return network


@CODECS.register("encodec")
class EnCodec(TokenCodec):
    """The codec of MAGNeT (compression_state_dict.bin), or a folder of transformers' EncodecModel. Mono.

    A sound is worked on whole: its LSTM carries something from every frame to all that follow, and parts would differ.
    """

    makes: ClassVar[str] = SOUND

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return CODEBOOK.format(0) in shapes or PUBLISHED_CODEBOOK.format(0) in shapes

    @classmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        return books_in(shapes)[0][0]

    @staticmethod
    def renamed(name: str) -> str:
        for pattern, ours in RENAMED:
            name = pattern.sub(ours, name)
        return name

    @staticmethod
    def build(config: dict, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        from transformers import EncodecModel

        network = with_sizes(EncodecModel(config_of(config, shapes)))
        beat_before([*network.encoder.layers, *network.decoder.layers])
        return network

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.network.config.sampling_rate

    @property
    def tables(self) -> list[Tensor]:
        """[V, D] the rows of every code book."""
        return [layer.codebook.embed for layer in self.network.quantizer.layers]

    @property
    def books(self) -> int:
        return len(self.tables)

    @property
    def codebook_size(self) -> int:
        return self.network.config.codebook_size

    @property
    def scale(self) -> int:
        """Samples of a frame."""
        return prod(self.network.config.upsampling_ratios)

    def decode_note(self, grid: tuple[int, int]) -> str | None:
        """One sentence for a decode that takes more memory than is free. Raises MGTError where it can never have it."""
        room = self.room()
        if room.device.type != "cpu":
            return None
        samples = grid[1] * self.scale
        work = f"decoding {samples / self.sample_rate:.4g} s of sound"
        return room.note(self.memory(samples), work, "make a shorter sound")

    def memory(self, samples: int) -> int:
        """Bytes beside the weights, to encode or decode a sound of so many: the maps of its longest level."""
        config, most, ratio = self.network.config, 0, 1
        for level, factor in enumerate((*reversed(config.upsampling_ratios), 1)):
            most = max(most, config.num_filters * 2**level * ceil(samples / ratio))
            ratio *= factor
        return ALIVE * most * compute_dtype(self.network).itemsize

    def decode(self, tokens: TokenState | Tensor) -> Tensor:
        """Tokens (a state, or ids [B, K, T]) -> wave [B, 1, T * scale] float32, as the network gives it: it may go
        beyond -1 and 1.

        Raises MGTError when cells are still masked, ids are not in the code books, or tokens are not of this codec."""
        return self.decode_vectors(self.vectors(tokens))

    @torch.inference_mode()
    def vectors(self, tokens: TokenState | Tensor, among: Tensor | None = None) -> Tensor:
        """[B, D, T] what the decoder reads of tokens: the sum of their rows in the K code books.

        among: [B, K, T] bool, the cells whose rows count, all by default; the first books alone make a rough sound."""
        ids = self.checked_tokens(tokens)
        ids = sent(ids, self.acquire())
        rows = [F.embedding(each, table) for each, table in zip(ids.unbind(1), self.tables, strict=True)]
        if among is not None:
            rows = [each * counts[..., None].to(each) for each, counts in zip(rows, among.unbind(1), strict=True)]
        return sum(rows).transpose(1, 2)

    @torch.inference_mode()
    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """[B, D, T] -> wave [B, 1, T * scale] float32."""
        samples = vectors.shape[2] * self.scale
        together = max(1, TOGETHER // samples)
        device = self.acquire(min(together, len(vectors)) * self.memory(samples))

        def made() -> Tensor:
            with convolutions(tf32=False), rounded("rnn", tf32=False):
                return torch.cat([self.network.decoder(sent(part, device)) for part in vectors.split(together)])

        wave = made()
        self._check_finite(wave, "samples", made)
        return wave.float()

    def checked_tokens(self, tokens: TokenState | Tensor) -> Tensor:
        """Ids [B, K, T]. Raises MGTError for what is none of this codec."""
        ids = self.ids_of(tokens, f"[batch, {self.books}, frames]")
        if ids.shape[1] != self.books or not ids.numel():
            raise MGTError(
                f"tokens have shape {list(ids.shape)}; this codec makes sound of {self.books} code books: expected "
                f"[batch, {self.books}, frames]"
            )
        if ids.shape[2] * self.scale > LONGEST:
            raise MGTError(f"the sound has {ids.shape[2] * self.scale} samples; accepted are up to {LONGEST}")
        return ids

    @torch.inference_mode()
    def encode(self, wave: Tensor) -> Tensor:
        """[B, 1, S] float, of its own sample rate -> ids [B, K, P] long, P = S / scale rounded up: in each book the
        nearest row (Euclidean) to what the books before it leave.

        Raises MGTError for what is no such sound. Its level is left as it is."""
        wave = self.checked_wave(wave)
        samples = wave.shape[2]
        together = max(1, TOGETHER // samples)
        device = self.acquire(min(together, len(wave)) * self.memory(samples))

        def made() -> Tensor:
            with convolutions(tf32=False), rounded("rnn", tf32=False):
                return torch.cat([self.network.encoder(sent(part, device)) for part in wave.split(together)])

        latents = made()
        self._check_finite(latents, "latents", made)
        return self.network.quantizer.encode(latents).transpose(0, 1).contiguous()

    def checked_wave(self, wave: Tensor) -> Tensor:
        """In the type that it computes in. Raises MGTError for what is no sound of one channel."""
        if not isinstance(wave, Tensor) or not wave.is_floating_point():
            held = wave.dtype if isinstance(wave, Tensor) else type(wave).__name__
            raise MGTError(f"wave is {held}; expected a tensor of floats about -1 to 1")
        if wave.ndim != 3 or not wave.numel():
            raise MGTError(f"wave has shape {list(wave.shape)}; expected [batch, 1, samples]")
        if wave.shape[1] != 1:
            raise MGTError(f"wave has {wave.shape[1]} channels; this codec takes one: make it mono first")
        if wave.shape[2] > LONGEST:
            raise MGTError(f"wave has {wave.shape[2]} samples; accepted are up to {LONGEST}")
        if not bool(wave.isfinite().all()):
            raise MGTError("wave is not finite: some samples are NaN or infinite")
        return wave.to(compute_dtype(self.network))
