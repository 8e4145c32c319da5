"""ImageReward (arXiv 2304.05977) on transformers' BLIP: its weights under their published names."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mgt_core.errors import MGTError, join_some, reason
from mgt_core.loading.weights import open_pickle
from mgt_core.rewards.pixels import clip_pixels
from mgt_core.rewards.repository import Repository

from .base import JUDGES, Judge, checked

REWARD = Repository("THUDM/ImageReward", ("ImageReward.pt",))
WORDS = Repository("google-bert/bert-base-uncased", ("vocab.txt",))
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of its rewards, by which the released code standardizes
MOST_WORDS, HEAD = 35, 64
# Published name of a part of the picture's side -> transformers'.
VISION = {
    r"cls_token": "embeddings.class_embedding",
    r"pos_embed": "embeddings.position_embedding",
    r"patch_embed\.proj\.(\w+)": r"embeddings.patch_embedding.\1",
    r"blocks\.(\d+)\.norm(\d)\.(\w+)": r"encoder.layers.\1.layer_norm\2.\3",
    r"blocks\.(\d+)\.attn\.qkv\.(\w+)": r"encoder.layers.\1.self_attn.qkv.\2",
    r"blocks\.(\d+)\.attn\.proj\.(\w+)": r"encoder.layers.\1.self_attn.projection.\2",
    r"blocks\.(\d+)\.mlp\.(fc\d)\.(\w+)": r"encoder.layers.\1.mlp.\2.\3",
    r"norm\.(\w+)": r"post_layernorm.\1",
}
SEEN, READ, REWARDED = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.|.*\.position_ids$")


def vision_name(name: str) -> str:
    """transformers' name of a tensor of the picture's side."""
    for pattern, other in VISION.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(other)
    raise MGTError(f"ImageReward.pt holds {SEEN}{name}, which its network does not have")


def below(held: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}


def layers_in(names, stem: str) -> int:
    return len({match[1] for name in names if (match := re.match(stem + r"\.(\d+)\.", name))})


class RewardNetwork(nn.Module):
    """BLIP's two sides and the head, of the sizes that the weights have; 64 channels a head on both sides, as in every
    BLIP that is published."""

    def __init__(self, held: Mapping[str, Tensor]):
        from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
        from transformers.models.blip.modeling_blip import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        super().__init__()
        seen, read, rewarded = (below(held, prefix) for prefix in (SEEN, READ, REWARDED))
        width, _, patch, _ = seen["patch_embed.proj.weight"].shape
        words, text_width = read["embeddings.word_embeddings.weight"].shape
        self.size = patch * math.isqrt(seen["pos_embed"].shape[1] - 1)
        self.vision = BlipVisionModel(
            BlipVisionConfig(
                hidden_size=width,
                intermediate_size=len(seen["blocks.0.mlp.fc1.bias"]),
                num_hidden_layers=layers_in(seen, "blocks"),
                num_attention_heads=width // HEAD,
                image_size=self.size,
                patch_size=patch,
                layer_norm_eps=1e-6,
            )
        )
        self.text = BlipTextModel(
            BlipTextConfig(
                vocab_size=words,
                hidden_size=text_width,
                encoder_hidden_size=width,
                intermediate_size=len(read["encoder.layer.0.intermediate.dense.bias"]),
                num_hidden_layers=layers_in(read, r"encoder\.layer"),
                num_attention_heads=text_width // HEAD,
                max_position_embeddings=len(read["embeddings.position_embeddings.weight"]),
            ),
            add_pooling_layer=False,
        )
        weights = sorted(
            (name for name in rewarded if name.endswith(".weight")), key=lambda name: int(name.split(".")[0])
        )
        self.head = nn.Sequential(*(nn.Linear(*rewarded[name].shape[::-1]) for name in weights))
        fill(self.vision, {vision_name(name): value for name, value in seen.items()})
        fill(self.text, {name: value for name, value in read.items() if not UNUSED.fullmatch(READ + name)})
        order = {name.split(".")[0]: place for place, name in enumerate(weights)}
        fill(self.head, {f"{order[place]}.{kind}": rewarded[f"{place}.{kind}"] for place, kind in map(split, rewarded)})

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """pixels: [N, 3, H, W]; ids, mask: [N, L] -> [N] rewards, standardized."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
        ).last_hidden_state
        return (self.head(read[:, 0])[:, 0] - MEAN) / STD


def split(name: str) -> tuple[str, str]:
    place, _, kind = name.partition(".")
    return place, kind


def fill(network: nn.Module, held: dict[str, Tensor]) -> None:
    """Raises MGTError for names that differ."""
    wanted = {name for name in network.state_dict() if not name.endswith("position_ids")}
    if odd := wanted ^ held.keys():
        raise MGTError(f"ImageReward.pt does not hold ImageReward's network: {join_some(sorted(odd))} differ")
    network.load_state_dict(held, strict=False)


@JUDGES.register("ir")
class ImageReward(Judge):
    """BLIP (large) reads the prompt with the picture before it; five linear layers turn its first word into a reward,
    standardized with the released mean and deviation."""

    title = "ImageReward"
    unit = "standardized reward"
    packages = {"transformers": "transformers"}
    repositories = (REWARD, WORDS)

    def __init__(self, root, device):
        from transformers import BertTokenizer

        file = REWARD.find(root)["ImageReward.pt"]
        try:
            self.network = RewardNetwork(open_pickle(file)).eval().to(device)
        except MGTError:
            raise
        except (KeyError, ValueError, RuntimeError) as error:
            raise MGTError(f"{file} does not hold ImageReward's network ({reason(error)})") from None
        self.tokenizer = BertTokenizer.from_pretrained(WORDS.folder(root), local_files_only=True)
        self.device = device

    def score(self, images, prompts):
        told = self.tokenizer(
            [prompt.text for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=MOST_WORDS,
            return_tensors="pt",
        ).to(self.device)
        pixels = clip_pixels(images, self.network.size).to(self.device)
        return checked("ir", self.network(pixels, told.input_ids, told.attention_mask), len(images))
