"""What is trained: a Meissonic with its text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.types import Condition

from ..data.scenes import CANVAS
from .tokenizer import MAX_LENGTH, load_tokenizer

CONFIG = {
    "_class_name": "Transformer2DModel",
    "attention_head_dim": 48,
    "axes_dims_rope": [8, 20, 20],
    "codebook_size": 1024,
    "downsample": True,
    "guidance_embeds": False,
    "in_channels": 192,
    "joint_attention_dim": 128,
    "num_attention_heads": 4,
    "num_layers": 3,
    "num_single_layers": 6,
    "patch_size": 1,
    "pooled_projection_dim": 192,
    "upsample": True,
    "vocab_size": 1056,
}
MASK_ID = CONFIG["vocab_size"] - 1
MICRO = (float(CANVAS), float(CANVAS), 0.0, 0.0, 6.0)  # width, height, crop top, crop left, aesthetic score


class DemoNetwork(nn.Module):
    """Backbone and text encoder: what is trained, averaged and checkpointed as one."""

    def __init__(self, tokenizer_folder: Path) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        tokenizer = load_tokenizer(tokenizer_folder)
        self.text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=128,
                intermediate_size=512,
                num_hidden_layers=3,
                num_attention_heads=4,
                projection_dim=192,
                max_position_embeddings=MAX_LENGTH,
                hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.backbone = MeissonicTransformer(MeissonicConfig.from_dict(CONFIG))
        self.backbone.apply(_start_weights)

    def condition(self, ids: Tensor) -> Condition:
        """Prompt ids [B, L] -> what the library's text encoder gives: penultimate states, pooled projection."""
        output = self.text(ids, output_hidden_states=True)
        micro = torch.tensor(MICRO, device=ids.device).expand(len(ids), -1)
        return Condition(hidden=output.hidden_states[-2], pooled=output.text_embeds, micro=micro)


def _start_weights(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else _fan_in(module))
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    # Closed gates: every block starts as the identity, which lets the rate be high from the start.
    if type(module).__name__ == "Modulation":
        nn.init.zeros_(module.linear.weight)


def _fan_in(module: nn.Module) -> float:
    weight = module.weight
    inputs = weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else weight[0].numel()
    return min(0.06, inputs**-0.5)


def load_network(work: Path) -> DemoNetwork:
    """Averaged weights of the finished run, or of the last checkpoint."""
    network = DemoNetwork(work / "tokenizer").eval().requires_grad_(False)
    done = work / "transformer.pt"
    if done.exists():
        weights = torch.load(done, map_location="cpu", weights_only=True)
    else:
        weights = torch.load(work / "transformer_state.pt", map_location="cpu", weights_only=True)["averages"]
    network.load_state_dict(weights, strict=False)
    return network
