"""Small LoRA files, random, in the layouts in which people have them, and what their formulas make of the weights."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import mgt_core
from mgt_core.kernels.fused_linear import FusedLinear

from .device import DEVICE

# What training scripts of this family adapt by default, and a layer that is not fused.
TARGETS = ("to_q", "to_k", "to_v", "ff.net.2", "context_embedder")

Pairs = dict[str, tuple[Tensor, Tensor]]
Parts = dict[str, Tensor]  # of one layer, by what their names end in
Formula = Callable[[Tensor], Tensor]  # from W [out, in] to what takes its place


def linear_layers(network: nn.Module) -> dict[str, tuple[int, int]]:
    """(in, out) of every linear layer by its published name."""
    found = {}
    for path, layer in network.named_modules():
        if isinstance(layer, FusedLinear):
            for name in layer.names:
                found[f"{path.rpartition('.')[0]}.{name}"] = layer.in_features, layer.out_features // len(layer.names)
        elif isinstance(layer, nn.Linear):
            found[path] = layer.in_features, layer.out_features
    return found


def low_rank_pairs(network: nn.Module, rank: int = 2, seed: int = 0, targets=TARGETS) -> Pairs:
    """Random A [r, in] and B [out, r] for the layers whose names end in `targets`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tuple(torch.randn(shape, generator=generator) * 0.2 for shape in ((rank, width), (height, rank)))
        for name, (width, height) in linear_layers(network).items()
        if name.endswith(targets)
    }


def save_peft(folder: Path, pairs: Pairs, alpha: float, **settings) -> Path:
    """A folder as PEFT's save_pretrained leaves it; returns its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha, "peft_type": "LORA"} | settings))
    return folder / "adapter_model.safetensors"


def save_diffusers(file: Path, pairs: Pairs, alpha: float) -> Path:
    """One file as diffusers' save_lora_adapter writes it, its settings in the header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors[f"transformer.{name}.lora_A.weight"] = down
        tensors[f"transformer.{name}.lora_B.weight"] = up
    settings = {"transformer.lora_alpha": alpha, "transformer.r": 2}
    save_file(tensors, file, metadata={"format": "pt", "lora_adapter_metadata": json.dumps(settings)})
    return file


def save_kohya(file: Path, pairs: Pairs, alpha: float) -> Path:
    """One file with `lora_down`, `lora_up` and an `alpha` beside every pair."""
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    save_file(tensors, file)
    return file


def logits(pipe, model=None):
    model = model or pipe.model
    grid = (4, 4)
    tokens = torch.arange(16).reshape(1, *grid) % model.codebook_size
    tokens[0, 1] = model.mask_id
    if "labels" in model.network.condition_fields:
        condition = mgt_core.Condition(labels=torch.tensor([1]))
        grid = model.network.trained_grid if model.network.only_trained_grid else grid
        tokens = torch.full((1, *grid), model.mask_id)
    else:
        condition = pipe.text.encode(["a red heart"])
    if model.in_stages:  # which is evaluated at one of its rows alone
        model, tokens = model.at_stage(1, tokens), tokens[:, 1:2]
    return model.logits(tokens, condition, 3.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.3


def lora(out: int, width: int) -> tuple[Parts, Formula]:
    down, up = random(3, width), random(out, 3)
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(6.0)}, lambda w: w + 2 * up @ down


def loha(rank: int) -> Callable[[int, int], tuple[Parts, Formula]]:
    def made(out: int, width: int) -> tuple[Parts, Formula]:
        parts = {f"hada_w{n}_{side}": random(*shape, seed=n) for n in (1, 2)
                 for side, shape in (("a", (out, rank)), ("b", (rank, width)))}  # fmt: skip
        first, second = (parts[f"hada_w{n}_a"] @ parts[f"hada_w{n}_b"] for n in (1, 2))
        return parts | {"alpha": torch.tensor(rank / 2)}, lambda w: w + 0.5 * first * second

    return made


def lokr(left: bool, right: bool) -> Callable[[int, int], tuple[Parts, Formula]]:
    """left, right: whether the matrices are stored as products, of rank 2."""

    def made(out: int, width: int) -> tuple[Parts, Formula]:
        parts, sides = {"alpha": torch.tensor(1.0)}, []
        for name, apart, rows, columns in (("w1", left, 4, 2), ("w2", right, out // 4, width // 2)):
            pieces = (random(rows, 2), random(2, columns)) if apart else (random(rows, columns),)
            endings = ("_a", "_b") if apart else ("",)
            parts |= {f"lokr_{name}{ending}": piece for ending, piece in zip(endings, pieces, strict=True)}
            sides.append(pieces[0] @ pieces[1] if apart else pieces[0])
        scale = 0.5 if left or right else 1.0
        return parts, lambda w: w + scale * torch.kron(*sides)

    return made


def dora(of: Callable[[int, int], tuple[Parts, Formula]], name: str, columns: bool = False):
    """Of PEFT's name, [out], or LyCORIS' [out, 1] or [1, in]."""

    def made(out: int, width: int) -> tuple[Parts, Formula]:
        parts, formula = of(out, width)
        m = random(1, width) + 1.5 if columns else random(out, 1) + 1.5

        def decomposed(w: Tensor) -> Tensor:
            whole = formula(w)
            return m * whole / whole.norm(dim=0 if columns else 1, keepdim=True)

        return parts | {name: m if name == "dora_scale" else m.flatten()}, decomposed

    return made


def glora(swapped: bool) -> Callable[[int, int], tuple[Parts, Formula]]:
    """swapped: the matrices by the names that LyCORIS gave them at first."""

    def made(out: int, width: int) -> tuple[Parts, Formula]:
        a_up, a_down, b_up, b_down = (
            random(width, 3),
            random(3, width, seed=1),
            random(out, 3),
            random(3, width, seed=2),
        )
        named = (a_down, a_up, b_down, b_up) if swapped else (a_up, a_down, b_up, b_down)
        parts = {f"{name}.weight": value for name, value in zip(("a1", "a2", "b1", "b2"), named, strict=True)}
        return parts | {"alpha": torch.tensor(1.5)}, lambda w: w + 0.5 * (w @ a_up @ a_down + b_up @ b_down)

    return made


def ia3(inputs: bool, lycoris: bool) -> Callable[[int, int], tuple[Parts, Formula]]:
    def made(out: int, width: int) -> tuple[Parts, Formula]:
        factors = 1 + (random(1, width) if inputs else random(out, 1))
        plain = {"weight": factors.flatten() - 1, "on_input": torch.tensor(int(inputs))}
        return plain if lycoris else {"ia3_l": factors}, lambda w: w * factors

    return made


def difference(out: int, width: int) -> tuple[Parts, Formula]:
    diff = random(out, width)
    return {"diff": diff}, lambda w: w + diff


# Each gives the tensors of a layer of these sizes, and its formula at strength 1.
METHODS = {
    "LoRA": lora,
    "LoHa, kept as of rank 4": loha(2),
    "LoHa, kept whole": loha(7),
    "LoKr, whole": lokr(False, False),
    "LoKr, the right one apart": lokr(False, True),
    "LoKr, both apart": lokr(True, True),
    "DoRA of PEFT": dora(lora, "lora_magnitude_vector"),
    "DoRA of LyCORIS, outputs": dora(lora, "dora_scale"),
    "DoRA of LyCORIS, inputs": dora(lora, "dora_scale", columns=True),
    "DoRA of a LoKr": dora(lokr(False, True), "dora_scale"),
    "DoRA of a LoHa, inputs": dora(loha(2), "dora_scale", columns=True),
    "GLoRA": glora(False),
    "GLoRA, the older": glora(True),
    "IA3 of LyCORIS, outputs": ia3(False, True),
    "IA3 of LyCORIS, inputs": ia3(True, True),
    "IA3 of PEFT, inputs": ia3(True, False),
    "difference": difference,
}


def save_parts(file: Path, layers: dict[str, Parts], **header: str) -> Path:
    """One file with the parts of every layer by these names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{ending}": value.contiguous() for name, parts in layers.items() for ending, value in parts.items()
    }
    save_file(tensors, file, metadata={"format": "pt", **header})
    return file


def rewritten(model, formulas: dict[str, Formula], strength: float = 1.0):
    """The model with W + strength (formula(W) - W) in the place of each W, or bias, named."""
    network = copy.deepcopy(model.network)
    state = network.state_dict()  # views of fused weights, too
    with torch.inference_mode():
        for name, formula in formulas.items():
            value = state[name if name in state else network.renamed(name)]
            whole = value.cpu().reshape(len(value), -1) if name.endswith("weight") else value.cpu()
            value += (strength * (formula(whole) - whole)).reshape(value.shape).to(DEVICE)
    return mgt_core.MGTModel(network, model.pixels_per_token)
