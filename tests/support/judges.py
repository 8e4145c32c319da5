"""Tiny random judges, saved as theirs are published, in folders called as their repositories are."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from .encoders import clip_model

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "heart", "dog", "cat", "sun", "##s")
WIDTH, PATCH, SIDE, LAYERS, LENGTH = 128, 8, 16, 2, 40  # of ImageReward's two sides, two heads of 64 channels each


def clip_judge(root: Path, seed: int = 7) -> Path:
    return clip_model(root / "clip-vit-large-patch14", seed=seed)


def pick_judge(root: Path, seed: int = 8) -> Path:
    return clip_model(root / "PickScore_v1", seed=seed)


def reward_weights(seed: int = 9) -> dict[str, torch.Tensor]:
    """Under the names of ImageReward.pt."""
    generator = torch.Generator().manual_seed(seed)
    held: dict[str, torch.Tensor] = {}

    def linear(name: str, out: int, into: int) -> None:
        held[f"{name}.weight"] = torch.randn(out, into, generator=generator) / into**0.5
        held[f"{name}.bias"] = torch.randn(out, generator=generator) / 4

    def norm(name: str) -> None:
        held[f"{name}.weight"] = 1 + torch.randn(WIDTH, generator=generator) / 4
        held[f"{name}.bias"] = torch.randn(WIDTH, generator=generator) / 4

    seen, read = "blip.visual_encoder.", "blip.text_encoder."
    held[seen + "cls_token"] = torch.randn(1, 1, WIDTH, generator=generator)
    held[seen + "pos_embed"] = torch.randn(1, 1 + (SIDE // PATCH) ** 2, WIDTH, generator=generator)
    held[seen + "patch_embed.proj.weight"] = torch.randn(WIDTH, 3, PATCH, PATCH, generator=generator) / 8
    held[seen + "patch_embed.proj.bias"] = torch.randn(WIDTH, generator=generator) / 4
    for place in range(LAYERS):
        block = f"{seen}blocks.{place}."
        norm(block + "norm1")
        norm(block + "norm2")
        linear(block + "attn.qkv", 3 * WIDTH, WIDTH)
        linear(block + "attn.proj", WIDTH, WIDTH)
        linear(block + "mlp.fc1", 2 * WIDTH, WIDTH)
        linear(block + "mlp.fc2", WIDTH, 2 * WIDTH)
    norm(seen + "norm")
    held[read + "embeddings.position_ids"] = torch.arange(LENGTH)[None]
    held[read + "embeddings.word_embeddings.weight"] = torch.randn(len(WORDS), WIDTH, generator=generator)
    held[read + "embeddings.position_embeddings.weight"] = torch.randn(LENGTH, WIDTH, generator=generator)
    norm(read + "embeddings.LayerNorm")
    for place in range(LAYERS):
        layer = f"{read}encoder.layer.{place}."
        for attention in ("attention", "crossattention"):
            for part in ("query", "key", "value"):
                linear(f"{layer}{attention}.self.{part}", WIDTH, WIDTH)
            linear(f"{layer}{attention}.output.dense", WIDTH, WIDTH)
            norm(f"{layer}{attention}.output.LayerNorm")
        linear(layer + "intermediate.dense", 2 * WIDTH, WIDTH)
        linear(layer + "output.dense", WIDTH, 2 * WIDTH)
        norm(layer + "output.LayerNorm")
    linear("blip.vision_proj", 16, WIDTH)
    linear("blip.text_proj", 16, WIDTH)
    sizes = (WIDTH, 32, 16, 8, 4, 1)
    for place, (into, out) in zip((0, 2, 4, 6, 7), zip(sizes, sizes[1:], strict=False), strict=True):
        linear(f"mlp.layers.{place}", out, into)
    return held


def reward_judge(root: Path) -> dict[str, torch.Tensor]:
    """Returns its weights."""
    (root / "ImageReward").mkdir(parents=True)
    (root / "bert-base-uncased").mkdir()
    torch.save(held := reward_weights(), root / "ImageReward" / "ImageReward.pt")
    (root / "bert-base-uncased" / "vocab.txt").write_text("\n".join(WORDS))
    return held


def detector(root: Path) -> Path:
    """A Mask2Former of COCO's 80 categories."""
    from transformers import Mask2FormerConfig, Mask2FormerModel, SwinConfig

    torch.manual_seed(10)
    stages = [f"stage{place}" for place in range(1, 5)]
    sizes = {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2], "window_size": 2, "image_size": 64}
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(**sizes, patch_size=4, out_features=stages),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=12,
        num_labels=80,
    )
    folder = root / "mask2former-swin-small-coco-instance"
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    weights = {f"model.{name}": value for name, value in Mask2FormerModel(config).state_dict().items()}
    weights["class_predictor.weight"] = 8 * torch.randn(81, 32)
    weights["class_predictor.bias"] = torch.randn(81)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    told = {
        "size": {"height": 64, "width": 64},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def hps_judge(root: Path) -> Path:
    """A CLIP of open_clip's, with the config beside it that says its size. Needs open_clip."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    folder = root / "HPSv2"
    folder.mkdir(parents=True)
    torch.manual_seed(11)
    model = open_clip.CLIP(**config)
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, folder / "HPS_v2.1_compressed.pt")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return folder
