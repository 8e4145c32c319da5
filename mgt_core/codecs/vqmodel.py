"""diffusers' VQModel, the codec of Meissonic and aMUSEd."""

import torch
from torch import Tensor, nn

from ..registry import CODECS
from .base import Codec
from .tiled import can_be_tiled, decode_tiled, encode_tiled
from .upsampling import FoldedUpsample, can_be_folded


@CODECS.register("vqmodel")
class VQModelCodec(Codec):
    """A diffusers VQModel, built from its config.json."""

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return "decoder.up_blocks.0.resnets.0.conv1.weight" in shapes and "quantize.embedding.weight" in shapes

    @staticmethod
    def build(config: dict, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
        from diffusers import VQModel

        network = VQModel.from_config(config)
        for level in network.decoder.up_blocks:
            for index, upsampler in enumerate(level.upsamplers or ()):
                if can_be_folded(upsampler):
                    level.upsamplers[index] = FoldedUpsample(upsampler.conv)
        return network

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.network.config.block_out_channels)

    def _decode(self, codes: Tensor) -> Tensor:
        spatial = codes if self.network.config.norm_type == "spatial" else None
        return self.network.decoder(self.network.post_quant_conv(codes), spatial)

    def _latents(self, image: Tensor) -> Tensor:
        return self.network.encode(image).latents

    @property
    def takes_tiles(self) -> bool:
        return can_be_tiled(self.network.decoder) and can_be_tiled(self.network.encoder)

    def _decode_tiled(self, codes: Tensor, device: torch.device, side: int) -> Tensor:
        return decode_tiled(self.network.decoder, self.network.post_quant_conv(codes.to(device)), side)

    def _latents_tiled(self, image: Tensor, device: torch.device, side: int) -> Tensor:
        return self.network.quant_conv(encode_tiled(self.network.encoder, image.cpu(), device, side))

    def _nearest(self, latents: Tensor) -> Tensor:
        return self.network.quantize(latents)[2][2].reshape(latents.shape[0], *latents.shape[2:])
