"""Loading of bundles: HF-layout folders, read weight by weight into networks that own no memory yet."""

import json
import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .backbones.base import Backbone
from .codecs.vqmodel import Codec
from .errors import MGTError, join_some, reason
from .model import MGTModel
from .registry import BACKBONES
from .text import TextEncoder

log = logging.getLogger(__name__)

BUILT_IN = {"demo": Path(__file__).parent / "demo" / "model"}
REMAP_BYTES = 32 * 2**20  # read from one mapping before it is dropped, so that mapped pages do not pile up
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_HEADER = 100 * 2**20
PARTS = ("transformer", "vqvae", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class Pipeline:
    """A loaded bundle. size: (height, width) in pixels that the model was trained at."""

    model: MGTModel
    text: TextEncoder
    codec: Codec
    size: tuple[int, int]
    name: str


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies and its shape."""

    file: Path
    shape: tuple[int, ...]
    offset: int
    size: int


def load(source: str | Path, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Pipeline:
    """Load a bundle: the name of a built-in model ("demo") or a HF-layout folder
    (transformer/, vqvae/, text_encoder/, tokenizer/, scheduler/).

    dtype: of transformer and text encoder; default float32 on a CPU, bfloat16 elsewhere. The codec
    stays float32, which its quantization needs. device: default "cuda" where there is one.
    Peak memory stays near the size of the loaded weights. Raises MGTError naming what is wrong.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    folder = find_bundle(source)
    parts = {name: subfolder(folder, name) for name in PARTS}
    network = load_backbone(parts["transformer"], dtype, device)
    scheduler = read_scheduler(folder, network)
    codec = load_codec(parts["vqvae"], torch.float32, device)
    if codec.codebook_size < network.codebook_size:
        raise MGTError(
            f"the vqvae of {folder.name} has {codec.codebook_size} codes and its transformer {network.codebook_size}; "
            "they belong to different models"
        )
    text = load_text_encoder(parts["text_encoder"], parts["tokenizer"], dtype, device)
    check_text_fits(text, network, folder)
    model = MGTModel(
        network=network,
        pixels_per_token=codec.scale,
        timestep_rule=scheduler.get("timestep_rule", "index"),
        defaults=scheduler.get("defaults", {}),
        codec=codec,
    )
    return Pipeline(
        model,
        text,
        codec,
        trained_size(folder, network, codec),
        str(source) if str(source) in BUILT_IN else folder.name,
    )


def find_bundle(source: str | Path) -> Path:
    """Folder of a built-in model or of a path. Raises MGTError when there is none."""
    if isinstance(source, (str, Path)) and str(source):
        folder = BUILT_IN.get(str(source)) or Path(os.path.expanduser(source))
        if folder.is_dir():
            return folder
    raise MGTError(
        f"model is {str(source)!r}; accepted are a folder with a transformer subfolder, "
        f"or a built-in model ({', '.join(BUILT_IN)})"
    )


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


def subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_dir():
        raise MGTError(
            f"{folder} has no subfolder {name}; expected a HF-layout bundle "
            "with transformer, vqvae, text_encoder and tokenizer"
        )
    return path


def read_json(path: Path) -> dict:
    """Raises MGTError for a missing file, or one that does not hold a JSON object."""
    if not path.is_file():
        raise MGTError(f"{path} is missing")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MGTError(f"{path} is not valid JSON ({reason(error)})") from None
    if not isinstance(value, dict):
        raise MGTError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


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


def load_backbone(folder: Path, dtype: torch.dtype, device: torch.device) -> Backbone:
    """The network of a transformer folder, its architecture found from its config and tensors."""
    config = read_json(folder / "config.json")
    stored = index_weights(folder)
    shapes = {name: entry.shape for name, entry in stored.items()}
    for name in BACKBONES:
        kind = BACKBONES.get(name)
        if kind.recognizes(config, shapes):
            parsed = kind.config_class.from_dict(config)
            held = {name: entry for name, entry in stored.items() if not kind.leaves(name)}
            return materialize(partial(kind, parsed), held, folder, dtype, device)
    raise MGTError(
        f"{folder} holds no architecture this pack knows ({', '.join(BACKBONES)}); "
        f"its first tensors are {join_some(sorted(shapes))}"
    )


def load_codec(folder: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    """diffusers' VQModel from a vqvae folder."""
    from diffusers import VQModel

    config = read_json(folder / "config.json")
    network = materialize(lambda: VQModel.from_config(config), index_weights(folder), folder, dtype, device)
    return Codec(network, 2 ** (len(network.config.block_out_channels) - 1))


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
    wanted = network.state_dict()
    optional = {name for name in stored if name.endswith("position_ids")}  # older transformers saved this constant
    compare_keys(
        folder, {n: tuple(v.shape) for n, v in wanted.items()}, {n: e for n, e in stored.items() if n not in optional}
    )
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    places = network.state_dict()
    for name, tensor in read_tensors(stored, wanted):
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


def index_weights(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder's safetensors files by name: one file, or shards listed by an index.

    Raises MGTError when there is none, or a shard is missing, truncated or no safetensors file.
    """
    indexes = sorted(folder.glob("*.safetensors.index.json"), key=plain_name_first)
    if indexes:
        index = read_json(indexes[0])
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise MGTError(f"{indexes[0]} has no weight_map from tensors to files")
        files = sorted({folder / name for name in weight_map.values()})
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise MGTError(f"{folder} lacks {len(missing)} of {len(files)} shards: {join_some(missing)}")
    else:
        files = sorted(folder.glob("*.safetensors"), key=plain_name_first)[:1]
        if not files:
            pickles = join_some(
                sorted(f.name for f in folder.iterdir() if f.suffix in (".bin", ".ckpt", ".pt", ".pth"))
            )
            hint = f"; it has {pickles}, which must be converted to safetensors" if pickles else ""
            raise MGTError(f"{folder} holds no .safetensors file{hint}")
    stored: dict[str, Stored] = {}
    for file in files:
        stored.update(read_header(file))
    return stored


def plain_name_first(file: Path) -> tuple[int, bool, str]:
    """Sorts model.safetensors before its variants (model.fp16.safetensors, model.ema.safetensors) and other files."""
    return file.name.count("."), not file.name.split(".")[0].endswith("model"), file.name


def read_header(file: Path) -> dict[str, Stored]:
    """Names, shapes and places of the tensors in one safetensors file, checked against its length."""
    total = file.stat().st_size
    broken = f"{file} is not a readable safetensors file"
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, total - 8):
            raise MGTError(f"{broken} (it has {total} bytes and no valid header)")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            entries = {
                name: Stored(file, tuple(e["shape"]), e["data_offsets"][0], e["data_offsets"][1] - e["data_offsets"][0])
                for name, e in header.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise MGTError(f"{broken} (its header cannot be parsed: {reason(error)})") from None
    end = 8 + length + max((e.offset + e.size for e in entries.values()), default=0)
    if total < end:
        raise MGTError(f"{file} is truncated: it has {total} bytes of {end}; download or copy it again")
    return entries


def read_tensors(stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each wanted tensor once, in the order of the files. A yielded tensor lies in mapped memory: copy it."""
    from safetensors import SafetensorError, safe_open

    names = sorted(wanted, key=lambda name: (stored[name].file, stored[name].offset))
    handle, opened, read = None, None, 0
    for name in names:
        entry = stored[name]
        if handle is None or entry.file != opened or read > REMAP_BYTES:
            try:
                handle, opened, read = safe_open(entry.file, "pt", device="cpu"), entry.file, 0
            except SafetensorError as error:
                raise MGTError(f"{entry.file} is not a readable safetensors file ({reason(error)})") from None
        tensor = handle.get_tensor(name)
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise MGTError(f"{entry.file} holds {name} as {tensor.dtype}, expected a type like {wanted[name].dtype}")
        read += entry.size
        yield name, tensor
