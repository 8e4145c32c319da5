"""Small bundles to load: copies of a golden one that a test may damage, and one with weights of a given size."""

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer

from .golden import OWN, bundles

PARTS = ("transformer", "vqvae", "text_encoder", "tokenizer", "scheduler")
REMOVED = object()

Weights = dict[str, torch.Tensor]


def copy_bundle(target: Path, source: Path | None = None) -> Path:
    """A golden bundle (the first by default) without its recordings."""
    source = source or bundles()[0]
    for part in PARTS:
        shutil.copytree(source / part, target / part)
    shutil.copy(source / "model_index.json", target)
    return target


def muddit_bundle(target: Path) -> Path:
    """The golden Muddit with what its base lends, in one folder."""
    source = OWN / "kin" / "muddit"
    shutil.copytree(source / "base", target, dirs_exist_ok=True)
    shutil.copytree(source / "1024", target, dirs_exist_ok=True)
    return target


def weights_file(folder: Path) -> Path:
    """The safetensors file of a folder that holds one."""
    (file,) = folder.glob("*.safetensors")
    return file


def edit_config(folder: Path, **changes) -> None:
    """Set entries of the folder's JSON config; REMOVED takes one out."""
    (file,) = folder.glob("*config.json")
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not REMOVED}))


def edit_weights(folder: Path, change: Callable[[Weights], Weights | None]) -> None:
    """Rewrite the folder's weights as `change` returns them, or as it left the dict it was given."""
    file = weights_file(folder)
    weights = load_file(file)
    changed = change(weights)
    save_file(weights if changed is None else changed, file)


def shard_weights(folder: Path, parts: int) -> list[Path]:
    """Split the folder's weights into numbered files with an index, as transformers does."""
    file = weights_file(folder)
    weights, stem = load_file(file), file.stem
    file.unlink()
    names = sorted(weights)
    weight_map, files = {}, []
    for part in range(parts):
        shard = folder / f"{stem}-{part + 1:05d}-of-{parts:05d}.safetensors"
        held = {name: weights[name] for name in names[part::parts]}
        save_file(held, shard)
        weight_map |= dict.fromkeys(held, shard.name)
        files.append(shard)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return files


def transformer_of_size(folder: Path, megabytes: int, dtype: torch.dtype) -> int:
    """A transformer folder with random weights of about `megabytes`; returns their number."""
    config = {
        "attention_head_dim": 64,
        "axes_dims_rope": [16, 24, 24],
        "codebook_size": 1024,
        "downsample": True,
        "joint_attention_dim": 64,
        "num_attention_heads": 8,
        "num_layers": 0,
        "num_single_layers": 0,
        "pooled_projection_dim": 512,
        "upsample": True,
        "vocab_size": 1032,
    }

    def shapes(layers: int) -> dict[str, torch.Size]:
        with torch.device("meta"):
            network = MeissonicTransformer(MeissonicConfig.from_dict(config | {"num_single_layers": layers}))
        return {name: value.shape for name, value in network.state_dict().items()}

    def count(layers: int) -> int:
        return sum(shape.numel() for shape in shapes(layers).values())

    layer = count(1) - count(0)
    config["num_single_layers"] = round((megabytes * 2**20 / dtype.itemsize - count(0)) / layer)
    wanted = shapes(config["num_single_layers"])
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    noise = torch.randn(max(shape.numel() for shape in wanted.values())).to(dtype)
    save_file(
        {name: noise[: shape.numel()].reshape(shape).clone() for name, shape in wanted.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    return count(config["num_single_layers"])


# A process of its own: loads transformer argv[1] as dtype argv[2] and prints its bytes, the peak, and what it holds.
MEASURE = """
import sys
from pathlib import Path
import torch, diffusers, transformers
from safetensors import safe_open
from mgt_core.loading.networks import load_backbone

folder, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
network = load_backbone(folder, dtype, torch.device("cpu"))
weights = sum(p.numel() * p.element_size() for p in network.parameters())
print(weights, memory("VmHWM") - before, memory("VmRSS") - before)
"""


def openmuse_bundle(target: Path, pickled: bool = True, transformer: str = "ema_model", codec: str = "vqgan") -> Path:
    """The golden open-muse MaskGIT and its codec as UnlockMGM's folders: any names, up to three levels down."""
    for name, source in ((transformer, "openmuse_tiny"), (codec, "vqgan_tiny")):
        (target / name).mkdir(parents=True)
        shutil.copy(OWN / "maskgit" / source / "config.json", target / name)
        file = OWN / "maskgit" / source / "pytorch_model.safetensors"
        if pickled:
            torch.save(state_dict(file), target / name / "pytorch_model.bin")
        else:
            shutil.copy(file, target / name)
    return target


def halton_bundle(target: Path) -> Path:
    """The golden Halton-MaskGIT as its files are published, side by side; returns the transformer's.

    Its width is none of the released ones, so its number of heads lies beside it."""
    source = OWN / "maskgit" / "halton_tiny"
    target.mkdir(parents=True, exist_ok=True)
    torch.save({"model": load_file(source / "vq" / "vq.safetensors")}, target / "vq_ds16_c2i.pt")
    return published_halton(source / "proj1", target / "ImageNet_tiny.pth")


def published_halton(folder: Path, file: Path) -> Path:
    """Write the Halton-MaskGIT of a golden folder as its authors' save_network does, with its number of heads beside
    it; one tensor is both the embedding and the head."""
    config, weights = json.loads((folder / "config.json").read_text()), state_dict(folder / "model.safetensors")
    weights["head.weight"] = weights["tok_emb.weight"]
    torch.save({"iter": 1234, "global_epoch": 5, "model_state_dict": weights, "optimizer_state_dict": None}, file)
    file.with_suffix(".json").write_text(json.dumps({"heads": config["heads"]}))
    return file


def state_dict(file: Path) -> OrderedDict[str, torch.Tensor]:
    """The weights of a file as a network has them: ordered, and with a version of every module."""
    weights = OrderedDict(load_file(file))
    modules = {".".join(name.split(".")[:depth]) for name in weights for depth in range(name.count(".") + 1)}
    weights._metadata = OrderedDict((module, {"version": 1}) for module in sorted(modules))
    return weights


def amused_bundle(target: Path, downsample: bool = True) -> Path:
    """A random aMUSEd of few weights, saved by diffusers; text encoder and codec are those of a golden bundle."""
    from diffusers import AmusedScheduler, UVit2DModel

    copy_bundle(target)
    for part in ("transformer", "scheduler"):
        shutil.rmtree(target / part)
    text = json.loads((target / "text_encoder" / "config.json").read_text())
    torch.manual_seed(3)
    network = UVit2DModel(
        hidden_size=32,
        cond_embed_dim=text["projection_dim"],
        micro_cond_encode_dim=8,
        micro_cond_embed_dim=40,
        encoder_hidden_size=text["hidden_size"],
        vocab_size=72,
        codebook_size=64,
        in_channels=24,
        block_out_channels=24,
        num_res_blocks=1,
        downsample=downsample,
        upsample=downsample,
        block_num_heads=2,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        sample_size=8,
    )
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.3)
    network.save_pretrained(target / "transformer")
    AmusedScheduler(mask_token_id=71).save_pretrained(target / "scheduler")
    (target / "model_index.json").write_text('{"_class_name": "AmusedPipeline"}')
    return target


UNIFIED = OWN / "unified"


def showo_bundle(target: Path, pickled: bool = True) -> Path:
    """The golden Show-o as its files are published: the network, and in folders of their own codec and tokenizer, with
    the config of the language model."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(UNIFIED / "showo" / "showo" / "config.json", target)
    held = state_dict(UNIFIED / "showo" / "showo" / "pytorch_model.safetensors")
    if pickled:
        torch.save(held, target / "pytorch_model.bin")
    else:
        save_file(held, target / "model.safetensors")
    shutil.copytree(UNIFIED / "showo" / "phi_tiny", target / "phi-1_5")
    magvit_codec(target)
    return target


def mmada_bundle(target: Path) -> Path:
    """The golden MMaDA as its files are published, and the codec in a folder of its own."""
    target.mkdir(parents=True, exist_ok=True)
    for file in (UNIFIED / "mmada").iterdir():
        if file.name.startswith(("config", "model", "tokenizer", "special_tokens")):
            shutil.copy(file, target)
    magvit_codec(target)
    return target


def magvit_codec(target: Path) -> None:
    """Into the folder of a model."""
    shutil.copytree(UNIFIED / "showo" / "magvitv2", target / "magvitv2")


def dimoo_bundle(target: Path) -> Path:
    """The golden Lumina-DiMOO as it is published: weights and tokenizer side by side, and a folder vqvae."""
    source = OWN / "unified" / "dimoo"
    recorded = {"prompts.json", "layout.json", "paint.json", "forward.safetensors", "sampling.safetensors"}
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and file.name not in recorded | {"vq.safetensors"}:
            shutil.copy(file, target)
    shutil.copytree(source / "vqvae", target / "vqvae", dirs_exist_ok=True)
    return target


def magnet_bundle(target: Path, source: Path = OWN / "audio" / "magnet") -> Path:
    """A golden MAGNeT as it is published: two files of torch.save; and its text encoder, which is had from elsewhere,
    in a folder beside them."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        shutil.copy(source / name, target)
    shutil.copytree(source / "t5", target / "text_encoder", dirs_exist_ok=True)
    return target
