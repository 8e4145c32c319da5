"""HPSv2.1 (arXiv 2306.09341): a CLIP ViT-H/14 tuned on which of several pictures people like best."""

from mgt_core.rewards.clip_pair import HPSPair
from mgt_core.rewards.scorers import HPS_V2, HPS_WEIGHTS

from .base import JUDGES, Judge, checked


@JUDGES.register("hps")
class HPS(Judge):
    """100 · cos of picture and prompt: the released scorer gives the cosine, the released benchmark 100 times it. Here
    in float32, where the released code lets a GPU round to 16 bits."""

    title = "HPSv2.1"
    revision = 1  # sees whole pictures
    unit = "100 × cosine"
    packages = {"open_clip": "open-clip-torch"}
    repositories = (HPS_V2,)

    def __init__(self, root, device):
        self.pair = HPSPair(HPS_V2.find(root)[HPS_WEIGHTS], device)

    def score(self, images, prompts):
        cosines = self.pair.cosines(images, [prompt.text for prompt in prompts])
        return checked("hps", 100 * cosines, len(images))
