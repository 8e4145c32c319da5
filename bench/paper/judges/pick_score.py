"""PickScore: which of two pictures people would pick."""

from .base import JUDGES, Judge, checked
from .clip_pair import ClipPair, clip_repository

PICK = clip_repository("yuvalkirstain/PickScore_v1")


@JUDGES.register("pick")
class PickScore(Judge):
    """exp(logit scale) · cos of a CLIP ViT-H/14 tuned on what people picked (arXiv 2305.01569); a softmax over two
    pictures' scores is the chance that the first is preferred. Its own tokenizer, which is that of
    laion/CLIP-ViT-H-14-laion2B-s32B-b79K."""

    title = "PickScore"
    unit = "logit"
    packages = {"transformers": "transformers"}
    repositories = (PICK,)

    def __init__(self, root, device):
        self.pair = ClipPair(PICK.folder(root), device)

    def score(self, images, prompts):
        cosines = self.pair.cosines(images, [prompt.text for prompt in prompts])
        return checked("pick", self.pair.scale * cosines, len(images))
