"""A whole pipeline with random weights, made where it is to compute: no file of weights is written."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

import mgt_core
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.codecs.vqmodel import VQModelCodec
from mgt_core.conditioning.clip import CLIPText

from ..speed.bundle import SCHEDULE, WORDS, Sizes, spread, text_settings

Network = TypeVar("Network", bound=nn.Module)


def random_pipeline(sizes: Sizes, dtype: torch.dtype, device: torch.device, seed: int = 0) -> mgt_core.Pipeline:
    """What `mgt_core.load` gives of the bundle of `sizes` that bench.speed writes, with other numbers of the same
    spread. dtype: of transformer and text encoder; the codec is float32, as `load` has it."""
    generator, small = torch.Generator(device).manual_seed(seed), mgt_core.load_text_encoder("demo", device="cpu")
    config = CLIPText.configure(text_settings(sizes), {})
    network, encoder, pictures = (
        filled(build, kind, generator)
        for build, kind in (
            (lambda: MeissonicTransformer(MeissonicConfig.from_dict(sizes.transformer)), dtype),
            (lambda: type(small.network)(config), dtype),
            (lambda: VQModelCodec.build(sizes.vqvae, {}), torch.float32),
        )
    )
    codec, size = VQModelCodec(pictures), (sizes.pixels, sizes.pixels)
    model = mgt_core.MGTModel(
        network,
        pixels_per_token=codec.scale,
        defaults={**network.published_settings, "schedule": SCHEDULE},
        codec=codec,
        trained_size=size,
    )
    # The built-in model's tokenizer, with as much room as the published one has.
    text = replace(small, network=encoder, max_length=WORDS, checkpoint="")
    return mgt_core.Pipeline(model, text, codec, size, f"random, {sizes.name}")


@torch.no_grad()
def filled(build: Callable[[], Network], dtype: torch.dtype, generator: torch.Generator) -> Network:
    """A network with random weights on the generator's device, drawn there in its own type."""
    device = generator.device
    with torch.device("meta"):
        network = build()
    network = nn.Module.to(network, dtype).eval().requires_grad_(False)
    network = network._apply(lambda like: torch.empty(like.shape, dtype=like.dtype, device=device))
    for name, value in network.state_dict().items():
        spread(name, value.normal_(generator=generator))
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:  # CLIP's positions
                setattr(module, name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape))
    return network
