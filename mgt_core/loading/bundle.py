"""Loading of bundles (see layouts.py for their forms), weight by weight into networks that own no memory yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..codecs.base import Codec
from ..conditioning.text import TextEncoder
from ..errors import MGTError, join_some, reason
from ..model import MGTModel
from ..quantization.pipeline import quantize_codec, quantize_pipeline, quantize_text
from ..quantization.schemes import Scheme
from ..quantization.storage import MARK, check_types, marked_layers, read_scheme, with_marked_layers
from ..registry import BACKBONES, CODECS, Registry
from .layouts import BUILT_IN, config_of, find_bundle, find_layout, subfolder
from .weights import Stored, index_weights, read_json, read_tensors
from .weights import read_header as read_header

FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Pipeline:
    """A loaded bundle. size: (height, width) in pixels that the model was trained at.

    text: None for models of classes. source: file or folder of the transformer's weights, which may hold
    more than the network takes (a Self-Guidance branch).
    """

    model: MGTModel
    text: TextEncoder | None
    codec: Codec
    size: tuple[int, int]
    name: str
    source: Path | None = None


def load(
    source: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    quantization: str | Scheme | None = None,
    text_quantization: str | Scheme | None = None,
    codec_quantization: str | Scheme | None = None,
) -> Pipeline:
    """Load a bundle: the name of a built-in model ("demo"), a folder, or a transformer file with its codec
    beside it (layouts.py).

    dtype: of transformer and text encoder; default float32 on a CPU, bfloat16 elsewhere. The codec
    stays float32, which its quantization needs. device: default "cuda" where there is one.
    quantization: of the transformer, a scheme or its name ("w4a8"), by the stored calibration or the default
    one; text_quantization, codec_quantization: of the parts beside it ("w8a16", "fp8").
    Peak memory stays near the size of the loaded weights. Raises MGTError naming what is wrong.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    layout = find_layout(source)
    folder = layout.folder
    network = load_backbone(layout.transformer, dtype, device)
    scheduler = read_scheduler(folder, network)
    codec = load_codec(layout.codec, torch.float32, device)
    if codec.codebook_size < network.codebook_size:
        raise MGTError(
            f"the codec of {folder.name} has {codec.codebook_size} codes and its transformer {network.codebook_size}; "
            "they belong to different models"
        )
    text = None
    if "hidden" in network.condition_fields:
        parts = (subfolder(folder, name) for name in ("text_encoder", "tokenizer"))
        text = load_text_encoder(*parts, dtype, device)
        check_text_fits(text, network, folder)
    model = MGTModel(
        network=network,
        pixels_per_token=codec.scale,
        timestep_rule=scheduler.get("timestep_rule", "index"),
        defaults=scheduler.get("defaults", {}),
        codec=codec,
        trained_size=trained_size(folder, network, codec),
        quantization=read_scheme(index_weights(layout.transformer), network),
    )
    pipe = Pipeline(
        model,
        quantize_text(text, text_quantization),
        quantize_codec(codec, codec_quantization),
        model.trained_size,
        str(source) if str(source) in BUILT_IN else find_bundle(source).name,
        layout.transformer,
    )
    return quantize_pipeline(pipe, quantization)


def pick_device(device: torch.device | str | None) -> torch.device:
    """Raises MGTError for a device that torch does not know or that is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.zeros(1, device=picked).item()  # "meta" has no values to sample from
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise MGTError(f"device is {str(device)!r}, which this machine does not offer; try 'cpu'") from None
    return picked


def pick_dtype(dtype: torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in FLOAT_DTYPES:
        raise MGTError(f"dtype is {dtype!r}; accepted are {', '.join(map(str, FLOAT_DTYPES))}")
    return dtype


def read_scheduler(folder: Path, network: Backbone) -> dict:
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path) if path.is_file() else {}
    mask = config.get("mask_token_id", network.mask_id)
    if mask != network.mask_id:
        raise MGTError(
            f"{path} has mask_token_id {mask} and the transformer {network.mask_id}; they belong to different models"
        )
    if not isinstance(config.get("defaults", {}), dict):
        raise MGTError(f"{path} has defaults {config['defaults']!r}; expected sampling settings by name")
    return config


def trained_size(folder: Path, network: Backbone, codec: Codec) -> tuple[int, int]:
    """Pixels the bundle names (sample_size in model_index.json), else those of the network's layout."""
    index = folder / "model_index.json"
    named = read_json(index).get("sample_size") if index.is_file() else None
    if isinstance(named, int) and named > 0:
        return named, named
    return network.trained_grid[0] * codec.scale, network.trained_grid[1] * codec.scale


def check_text_fits(text: TextEncoder, network: Backbone, folder: Path) -> None:
    config = text.network.config
    for name, width in (("hidden", config.hidden_size), ("pooled", config.projection_dim)):
        wanted = network.condition_widths[name]
        if width != wanted:
            raise MGTError(
                f"the text encoder of {folder.name} gives {name} states of width {width} "
                f"and its transformer takes {wanted}; "
                "they belong to different models"
            )


def load_backbone(source: Path, dtype: torch.dtype, device: torch.device) -> Backbone:
    """The network of a transformer folder or file, its architecture found from its config and tensors."""
    kind, config, stored = recognize(source, BACKBONES, "architecture")
    settings = kind.configure(config, {name: entry.shape for name, entry in stored.items()})
    return materialize(partial(kind, settings), stored, source, dtype, device)


def load_codec(source: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    """The codec of a folder or file."""
    kind, config, stored = recognize(source, CODECS, "codec")
    shapes = {name: entry.shape for name, entry in stored.items()}
    return kind(materialize(partial(kind.build, config, shapes), stored, source, dtype, device))


def recognize(source: Path, registry: Registry, what: str) -> tuple[type, dict, dict[str, Stored]]:
    """(class, config, tensors by the names the network has for them) of a folder or file of weights."""
    config, stored = config_of(source), index_weights(source)
    shapes = {name: entry.shape for name, entry in stored.items()}
    for kind in map(registry.get, registry):
        if kind.recognizes(config, shapes):
            if kind.needs_config and not config:
                raise MGTError(f"{source / 'config.json'} is missing")
            return kind, config, {kind.renamed(n): entry for n, entry in stored.items() if not kind.leaves(n)}
    raise MGTError(
        f"{source} holds no {what} this pack knows ({', '.join(registry)}); "
        f"its first tensors are {join_some(sorted(shapes))}"
    )


def load_text_encoder(folder: Path, tokenizer: Path, dtype: torch.dtype, device: torch.device) -> TextEncoder:
    """transformers' CLIP text model with projection, and its tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    values = read_json(folder / "config.json")
    try:
        config = CLIPTextConfig.from_dict(values)
    except Exception as error:
        raise MGTError(f"{folder / 'config.json'} does not describe a CLIP text encoder ({reason(error)})") from error
    network = materialize(lambda: CLIPTextModelWithProjection(config), index_weights(folder), folder, dtype, device)
    for name in ("vocab.json", "merges.txt"):
        if not (tokenizer / name).is_file():
            raise MGTError(f"{tokenizer / name} is missing")
    try:
        words = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except Exception as error:
        raise MGTError(f"{tokenizer} does not hold a readable CLIP tokenizer ({reason(error)})") from error
    if len(words) > config.vocab_size:
        raise MGTError(
            f"{tokenizer} has {len(words)} words and the text encoder beside it takes {config.vocab_size}; "
            "they belong to different models"
        )
    return TextEncoder(network, words, min(words.model_max_length, config.max_position_embeddings))


def materialize(
    build: Callable[[], nn.Module],
    stored: Mapping[str, Stored],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Build a network without memory, give it memory of the type wanted, and copy each stored tensor there.

    Raises MGTError naming the first missing, unexpected or mis-shaped keys.
    """
    try:
        with torch.device("meta"):
            network = build()
    except MGTError:
        raise
    except Exception as error:
        raise MGTError(
            f"{folder / 'config.json'} does not describe a network that can be built ({reason(error)})"
        ) from error
    network = nn.Module.to(network, dtype)  # not the method of diffusers, which warns
    if marked := marked_layers(stored):
        network = with_marked_layers(network, marked, folder)
        stored = {name: entry for name, entry in stored.items() if not name.endswith(MARK)}
    wanted = network.state_dict()
    optional = {name for name in stored if name.endswith("position_ids")}  # older transformers saved this constant
    compare_keys(
        folder, {n: tuple(v.shape) for n, v in wanted.items()}, {n: e for n, e in stored.items() if n not in optional}
    )
    network = network.to_empty(device=device).eval().requires_grad_(False)
    places = network.state_dict()
    for name, tensor in read_tensors(stored, wanted):
        check_types(stored[name].file, name, tensor, places[name])
        places[name].copy_(tensor)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in module._non_persistent_buffers_set:
                setattr(module, name, rebuilt_buffer(name, buffer, device))
    return network


def rebuilt_buffer(name: str, buffer: Tensor, device: torch.device) -> Tensor:
    # The only buffer of the supported networks that no checkpoint holds: CLIP's positions.
    if name != "position_ids":
        raise MGTError(f"buffer {name} is in no checkpoint and has no known value")
    return torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)


def compare_keys(folder: Path, wanted: Mapping[str, tuple], stored: Mapping[str, Stored]) -> None:
    missing = sorted(wanted.keys() - stored.keys())
    extra = sorted(stored.keys() - wanted.keys())
    if missing:
        raise MGTError(f"the weights in {folder} lack {len(missing)} of {len(wanted)} tensors: {join_some(missing)}")
    if extra:
        raise MGTError(
            f"the weights in {folder} hold {len(extra)} tensors that its config has no place for: {join_some(extra)}"
        )
    wrong = [
        f"{n} is {list(stored[n].shape)}, expected {list(wanted[n])}"
        for n in sorted(wanted)
        if stored[n].shape != wanted[n]
    ]
    if wrong:
        raise MGTError(f"the weights in {folder} do not have the shapes its config gives: {join_some(wrong, 2)}")
