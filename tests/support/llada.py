"""A random LLaDA of few weights, as Lumina-DiMOO's transformer folder has it, and prompts for it."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import mgt_core
from mgt_core.backbones.language.dimoo import LuminaDiMOO
from mgt_core.backbones.language.llada import PREFIX
from mgt_core.types import Condition

SIZES = {
    "d_model": 32,
    "n_heads": 2,
    "n_layers": 3,
    "mlp_hidden_size": 48,
    "embedding_size": 90,
    "code_offset": 50,
    "codebook_size": 40,
    "mask_token_id": 40,
    "marks": {"picture": 41, "picture_end": 42, "answer": 43, "answer_end": 44, "row_end": 45},
}


def llada(**sizes) -> LuminaDiMOO:
    torch.manual_seed(5)
    network = LuminaDiMOO(LuminaDiMOO.configure(SIZES | sizes, {}))
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return network.eval().requires_grad_(False)


def model_of(network: LuminaDiMOO) -> mgt_core.MGTModel:
    return mgt_core.MGTModel(network, pixels_per_token=16)


def prompts() -> tuple[Condition, Condition]:
    return Condition(prompt=torch.tensor([[1, 2, 3, 4], [-1, 5, 6, 7]])), Condition(prompt=torch.tensor([[8], [8]]))


def logits(network: LuminaDiMOO) -> torch.Tensor:
    """Of two pictures, some of their cells known."""
    ids = torch.arange(32).reshape(2, 4, 4) % network.codebook_size
    ids[:, :2] = network.mask_id
    return model_of(network).logits(ids, prompts()[0], 1.0)


def write_llada(folder: Path, dtype: torch.dtype = torch.float32, **sizes) -> Path:
    """Its transformer folder, two shards whose border lies between the parts of a fused layer."""
    network = llada(**sizes).to(dtype)
    folder.mkdir(parents=True)
    values = SIZES | sizes | {"architectures": [LuminaDiMOO.architecture]}
    (folder / "config.json").write_text(json.dumps(values))
    tensors = {PREFIX + name: value.clone() for name, value in network.state_dict().items()}
    head = torch.zeros(values["embedding_size"], values["d_model"], dtype=dtype)  # of all ids, as published
    first = values["code_offset"]
    head[first : first + values["codebook_size"]] = tensors[f"{PREFIX}ff_out.weight"]
    tensors[f"{PREFIX}ff_out.weight"] = head
    names, border = sorted(tensors), f"{PREFIX}blocks.1.k_proj.weight"
    shards = {name: f"model-0000{1 + (name > border)}-of-00002.safetensors" for name in names}
    for shard in set(shards.values()):
        save_file({name: tensors[name] for name in names if shards[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder
