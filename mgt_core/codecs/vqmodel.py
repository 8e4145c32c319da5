"""diffusers' VQModel, the codec of Meissonic and aMUSEd."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from ..loading.building import defaults_of, like, without_odd
from ..pulse import beat_before
from ..registry import CODECS
from .base import Codec
from .maps import activated, layout_of
from .tiled import decode_tiled, encode_tiled, is_plain, resamplers
from .upsampling import FoldedUpsample, can_be_folded

UNUSED = ("sample_size", "scaling_factor", "force_upcast")  # entries of a config by which nothing is built or computed


@CODECS.register("vqmodel")
class VQModelCodec(Codec):
    """A diffusers VQModel, built from its config.json."""

    cpu_share = 1.5  # measured as 1.3 to 1.6

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "decoder.up_blocks.0.resnets.0.conv1.weight" in shapes and "quantize.embedding.weight" in shapes

    @staticmethod
    def build(config: dict, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        from diffusers import VQModel
        from diffusers.models.resnet import ResnetBlock2D

        examples = defaults_of(VQModel)
        network = VQModel(**like(examples, without_odd(UNUSED, examples, config)))
        for level in network.decoder.up_blocks:
            for index, upsampler in enumerate(level.upsamplers or ()):
                if can_be_folded(upsampler):
                    level.upsamplers[index] = FoldedUpsample(upsampler.conv)
        # Of variants that diffusers runs by itself, and of the blocks in the middle.
        beat_before(module for module in network.modules() if isinstance(module, ResnetBlock2D))
        return network

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.network.config.block_out_channels)

    def maps_alive(self, coming: int, width: int) -> int:
        return max(coming + 2 * width, 3 * width) if is_plain(self.network.decoder) else 3 * coming

    def _decode(self, codes: Tensor) -> Tensor:
        decoder, x = self.network.decoder, self.network.post_quant_conv(codes)
        if is_plain(decoder):
            return decode_whole(decoder, x)
        return decoder(x, codes if self.network.config.norm_type == "spatial" else None)

    def _latents(self, image: Tensor) -> Tensor:
        encoder = self.network.encoder
        return self.network.quant_conv(encode_whole(encoder, image) if is_plain(encoder) else encoder(image))

    @property
    def takes_tiles(self) -> bool:
        return is_plain(self.network.decoder) and is_plain(self.network.encoder)

    def _decode_tiled(self, codes: Tensor, cells: int) -> Tensor:
        return decode_tiled(self.network.decoder, self.network.post_quant_conv(codes), cells)

    def _latents_tiled(self, image: Tensor, cells: int) -> Tensor:
        return self.network.quant_conv(encode_tiled(self.network.encoder, image, cells))

    def _nearest(self, latents: Tensor) -> Tensor:
        return self.network.quantize(latents)[2][2].reshape(latents.shape[0], *latents.shape[2:])


def decode_whole(decoder: Any, codes: Tensor) -> Tensor:
    """What a plain decoder of diffusers computes."""
    layout = layout_of(codes)
    x = through(
        lambda x: decoder.mid_block(decoder.conv_in(x), None).contiguous(memory_format=layout), codes, decoder.up_blocks
    )
    x = activated(x, decoder.conv_norm_out, overwrite=True)
    return decoder.conv_out(x)


def encode_whole(encoder: Any, image: Tensor) -> Tensor:
    """What a plain encoder of diffusers computes."""
    x = encoder.mid_block(through(encoder.conv_in, image, encoder.down_blocks), None)
    return encoder.conv_out(activated(x, encoder.conv_norm_out, overwrite=True))


def through(first: Callable[[Tensor], Tensor], x: Tensor, levels: Iterable[Any]) -> Tensor:
    """The levels over `first`(x), holding nothing that is not needed again: where a block changes the width, its input
    goes before its second convolution begins, and what is elementwise is done in place.

    In one function, since maps would live on as arguments of those that call."""
    x = first(x)
    for level in levels:
        for block in level.resnets:
            base = x if block.conv_shortcut is None else block.conv_shortcut(x)
            x = activated(x, block.norm1, overwrite=base is not x)
            x = block.conv1(x)
            x = activated(x, block.norm2, overwrite=True)
            x = block.conv2(x).add_(base)
            del base
        for resampler in resamplers(level):
            x = resampler(x)
    return x
