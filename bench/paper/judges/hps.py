"""HPSv2.1 (arXiv 2306.09341): a CLIP ViT-H/14 tuned on which of several pictures people like best."""

import torch

from mgt_core.errors import MGTError, join_some, reason
from mgt_core.loading.disk import read_json
from mgt_core.loading.weights import index_weights, open_weights

from .base import JUDGES, Judge, Repository, checked
from .pixels import whole_pixels

WEIGHTS = "HPS_v2.1_compressed.pt"
REPOSITORY = Repository("xswu/HPSv2", (WEIGHTS,))
ARCHITECTURE = "ViT-H-14"
OTHER = "open_clip_config.json"  # beside weights of another size, as open_clip's repositories have it
DERIVED = {"attn_mask", "logit_bias"}


@JUDGES.register("hps")
class HPS(Judge):
    """100 · cos of picture and prompt: the released scorer gives the cosine, the released benchmark 100 times it. Here
    in float32, where the released code lets a GPU round to 16 bits."""

    title = "HPSv2.1"
    revision = 1  # sees whole pictures
    unit = "100 × cosine"
    packages = {"open_clip": "open-clip-torch"}
    repositories = (REPOSITORY,)

    def __init__(self, root, device):
        import open_clip

        file = REPOSITORY.find(root)[WEIGHTS]
        own = file.parent / OTHER
        config = read_json(own)["model_cfg"] if own.is_file() else open_clip.get_model_config(ARCHITECTURE)
        self.size, self.device = config["vision_cfg"]["image_size"], device
        model = open_clip.CLIP(**config)
        fill(model, file)
        self.model = model.eval().to(device)
        self.tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])

    def score(self, images, prompts):
        seen = self.model.encode_image(whole_pixels(images, self.size).to(self.device), normalize=True)
        words = self.tokenizer([prompt.text for prompt in prompts]).to(self.device)
        read = self.model.encode_text(words, normalize=True)
        return checked("hps", 100 * (seen * read).sum(-1), len(images))


def fill(model: torch.nn.Module, file) -> None:
    """Raises MGTError for weights of another network."""
    take = open_weights(file)
    held = {name: take(entry.name) for name, entry in index_weights(file).items() if name not in DERIVED}
    wanted = {name for name in model.state_dict() if name not in DERIVED}
    if odd := wanted ^ held.keys():
        raise MGTError(f"{file} does not hold HPSv2's network: {join_some(sorted(odd))} differ")
    try:
        model.load_state_dict(held, strict=False)
    except RuntimeError as error:
        raise MGTError(f"{file} does not hold HPSv2's network ({reason(error)})") from None
