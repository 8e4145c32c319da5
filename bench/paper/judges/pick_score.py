"""PickScore: which of two pictures people would pick."""

from mgt_core.rewards.clip_pair import ClipPair
from mgt_core.rewards.scorers import PICK_SCORE

from .base import JUDGES, Judge, checked


@JUDGES.register("pick")
class PickScore(Judge):
    """exp(logit scale) · cos of a CLIP ViT-H/14 tuned on what people picked (arXiv 2305.01569); a softmax over two
    pictures' scores is the chance that the first is preferred. Its own tokenizer, which is that of
    laion/CLIP-ViT-H-14-laion2B-s32B-b79K."""

    title = "PickScore"
    unit = "logit"
    packages = {"transformers": "transformers"}
    repositories = (PICK_SCORE,)

    def __init__(self, root, device):
        self.pair = ClipPair(PICK_SCORE.folder(root), device)

    def score(self, images, prompts):
        cosines = self.pair.cosines(images, [prompt.text for prompt in prompts])
        return checked("pick", self.pair.scale * cosines, len(images))
