"""CLIPScore: how near a picture lies to its prompt."""

from mgt_core.rewards.clip_pair import ClipPair
from mgt_core.rewards.scorers import CLIP_LARGE

from .base import JUDGES, Judge, checked


@JUDGES.register("clip")
class ClipScore(Judge):
    """100 · max(cos, 0) of CLIP ViT-L/14. Hessel et al. (arXiv 2104.08718) have 2.5 · max(cos, 0) of ViT-B/32, behind
    "A photo depicts"; here the prompt stands alone, as image generation is usually measured."""

    title = "CLIPScore (ViT-L/14)"
    unit = "100 × cosine"
    packages = {"transformers": "transformers"}
    repositories = (CLIP_LARGE,)

    def __init__(self, root, device):
        self.pair = ClipPair(CLIP_LARGE.folder(root), device)

    def score(self, images, prompts):
        cosines = self.pair.cosines(images, [prompt.text for prompt in prompts])
        return checked("clip", 100 * cosines.clamp_min(0), len(images))
