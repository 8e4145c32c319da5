"""What published models weigh, counted from shapes alone."""

from collections.abc import Callable

import torch
from torch import nn

from mgt_core.backbones.language.dimoo import LuminaDiMOO
from mgt_core.backbones.magnet.config import MagnetConfig
from mgt_core.backbones.magnet.network import MAGNeT
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.model import MGTModel
from mgt_core.quantization.layers import stored_bytes
from mgt_core.quantization.schemes import FP8, W4A8, W8A16, Scheme, planned
from mgt_core.sampling.memory import step_bytes
from mgt_core.streaming import streamable
from mgt_core.types import Condition, empty_state

from ..speed.bundle import FULL

LUMINA = {
    "d_model": 4096,
    "n_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "embedding_size": 134548,
    "mask_token_id": 126336,
    "code_offset": 126356,
    "codebook_size": 8192,
    "marks": {"picture": 126349, "picture_end": 126350, "answer": 126354, "answer_end": 126355, "row_end": 126084},
}
MMADA = LUMINA | {"embedding_size": 134656, "code_offset": 126349}
SCHEMES: dict[str, Scheme | None] = {"bfloat16": None, "fp8": FP8(), "w4a8": W4A8()}


class Phi(nn.Module):
    """Show-o's linear layers, norms and embedding, as phi-1.5 has them. Counted, never computed."""

    unquantized = ("head.",)
    embeddings = ("embedding",)

    def __init__(self, width: int, layers: int, hidden: int, words: int, codes: int):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "dense")}
                | {name: nn.LayerNorm(width // 32) for name in ("q_layernorm", "k_layernorm")}
                | {"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width), "norm": nn.LayerNorm(width)}
            )
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, codes)


class Gemma(nn.Module):
    """The layers of Gemma 2 2b that come before the states that are read, the last but one. Counted, never computed."""

    def __init__(self, width: int = 2304, layers: int = 25, hidden: int = 9216, words: int = 256_000):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        shapes = {"q": (width, 2048), "k": (width, 1024), "v": (width, 1024), "o": (2048, width)}
        shapes |= {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name, shape in shapes.items()})
            for _ in range(layers)
        )


def clip() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(CLIPTextConfig(**FULL.text_encoder))


def codec() -> nn.Module:
    from diffusers import VQModel

    return VQModel.from_config(FULL.vqvae)


def meissonic() -> nn.Module:
    return MeissonicTransformer(MeissonicConfig.from_dict(FULL.transformer))


def llada(values: dict) -> nn.Module:
    return LuminaDiMOO(LuminaDiMOO.configure(values, {}))


def magnet(dim: int, layers: int, heads: int) -> nn.Module:
    sizes = {"dim": dim, "layers": layers, "heads": heads, "hidden_scale": 4, "books": 4, "codes": 2048}
    return MAGNeT(MagnetConfig(**sizes, text_width=768))


def t5() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))


def encodec() -> nn.Module:
    from transformers import EncodecConfig, EncodecModel

    sizes = {"sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4], "codebook_size": 2048, "hidden_size": 128}
    return EncodecModel(EncodecConfig(**sizes, target_bandwidths=[2.2], num_filters=64))


Build = Callable[[], nn.Module]
# Of each model the transformer, its text encoders, and its codec; None where it is not counted.
MODELS: dict[str, tuple[Build, tuple[Build, ...], Build | None]] = {
    "Lumina-DiMOO": (lambda: llada(LUMINA), (), codec),
    "MMaDA": (lambda: llada(MMADA), (), None),
    "Show-o": (lambda: Phi(2048, 24, 8192, 58498, 8192), (), None),
    "Muddit, MaskFocus (Meissonic)": (meissonic, (clip,), codec),
    "EditMGT": (meissonic, (clip, Gemma), codec),
    "MAGNeT, small": (lambda: magnet(1024, 24, 16), (t5,), encodec),
    "MAGNeT, medium": (lambda: magnet(1536, 48, 24), (t5,), encodec),
}


def weighed(build: Build, dtype: torch.dtype, scheme: Scheme | None = None) -> float:
    """GB (10^9 bytes) of a network, packed by `scheme`."""
    with torch.device("meta"):
        network = build().to(dtype)
    size = planned(network, scheme, getattr(network, "unquantized", ())) if scheme else network
    return round(stored_bytes(size) / 1e9, 3)


def table() -> dict[str, dict[str, float | None]]:
    """By model GB of: the transformer by scheme; text encoders as they are and in w8a16; the codec, in float32."""
    half, found = torch.bfloat16, {}
    for name, (transformer, texts, decoder) in MODELS.items():
        found[name] = {scheme: weighed(transformer, half, how) for scheme, how in SCHEMES.items()}
        found[name]["text encoder"] = round(sum(weighed(text, half) for text in texts), 3)
        found[name]["text encoder, w8a16"] = round(sum(weighed(text, half, W8A16()) for text in texts), 3)
        found[name]["codec"] = decoder and weighed(decoder, torch.float32)
    return found


def on_card(words: int = 100, side: int = 64) -> dict[str, dict[str, float]]:
    """GB that Lumina-DiMOO asks of a card by scheme, for a guided step on side x side tokens: all of it there, with the
    token cache, and streamed layer by layer."""
    found = {}
    with torch.device("meta"):
        network = llada(LUMINA).to(torch.bfloat16)
    for name, scheme in SCHEMES.items():
        made = planned(network, scheme, network.unquantized) if scheme else network
        model = MGTModel(made, pixels_per_token=16)
        state = empty_state(1, (side, side), model.mask_id, model.codebook_size)
        prompt = Condition(prompt=torch.ones(1, words, dtype=torch.long))
        plain, cached = (step_bytes(m, state, prompt, prompt, [5.0]) for m in (model, model.with_token_cache()))
        layers = [sum(value.nbytes for value in layer.parameters()) for layer in streamable(made)]
        size = stored_bytes(made)
        streamed = size - sum(layers) + 2 * max(layers) + plain
        whole = {"weights": size, "a step": size + plain, "cached": size + cached, "streamed": streamed}
        found[name] = {what: round(value / 1e9, 2) for what, value in whole.items()}
    return found
