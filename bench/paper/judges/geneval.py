"""A GenEval-like judge: are the objects that a prompt names there, as many, in their colours and places?

GenEval (arXiv 2310.11513) in its rules and thresholds, and not in its networks' code: the detector is Mask2Former
(Swin-S, COCO) as transformers holds it, which looks at 384 × 384 pixels where GenEval's looks at up to 1333 × 800;
the colours are told by the same CLIP ViT-L/14, through transformers; a prompt has one picture where GenEval has four.
So its shares are not to be set beside published ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from PIL import Image

from mgt_core.rewards.clip_pair import ClipPair
from mgt_core.rewards.scorers import CLIP_LARGE

from .base import JUDGES, Judge, checked
from .detector import REPOSITORY, Detector, Found

SURE, SURE_OF_COUNTS = 0.3, 0.9  # sureness from which an object counts, and where numbers are asked for
MOST = 16  # of one kind
OFFSET = 0.1  # of both widths (heights): what centres may lie apart and still be neither left nor right
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
TELLINGS = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")
GREY = (0x99, 0x99, 0x99)  # laid over what is not the object

Telling = Callable[[Sequence[Found]], list[str]]  # objects of a picture -> the colour of each


def relations(one: Found, other: Found) -> set[str]:
    """Where the first lies, seen from the second: none, one or two of "left of", "right of", "above", "below"."""
    (left, top, right, bottom), (left_2, top_2, right_2, bottom_2) = one.box, other.box
    across = (left + right - left_2 - right_2) / 2
    down = (top + bottom - top_2 - bottom_2) / 2
    room = OFFSET * (right - left + right_2 - left_2), OFFSET * (bottom - top + bottom_2 - top_2)
    apart = math.hypot(across, down)
    if apart == 0:
        return set()
    x, y = (
        math.copysign(max(abs(offset) - free, 0), offset) / apart
        for offset, free in zip((across, down), room, strict=True)
    )
    found = {"left of": -x, "right of": x, "above": -y, "below": y}
    return {name for name, share in found.items() if share > 0.5}


def right(asked: Mapping, found: Sequence[Found], tell: Telling) -> bool:
    """Whether the objects found, the surest first, are what GenEval's metadata ask for: all that is to be included, in
    number, colour and place, and nothing in the number in which it is to be excluded."""
    matched: list[list[Found] | None] = []
    for part in asked["include"]:
        own = of_kind(found, part["class"])[: part["count"]]
        fits = len(own) >= part["count"]
        if fits and "color" in part:
            fits = tell(own).count(part["color"]) >= part["count"]
        if fits and "position" in part:
            relation, place = part["position"]
            others = matched[place]
            fits = others is not None and all(relation in relations(a, b) for a in own for b in others)
        matched.append(own if fits else None)
    crowded = any(len(of_kind(found, part["class"])) >= part["count"] for part in asked.get("exclude", []))
    return None not in matched and not crowded


def of_kind(found: Sequence[Found], name: str) -> list[Found]:
    return [each for each in found if each.name == name][:MOST]


class Colours:
    """Which of ten colours an object has, by CLIP."""

    def __init__(self, pair: ClipPair):
        self.pair, self.known = pair, {}

    def of(self, name: str) -> torch.Tensor:
        """[10, D], a direction a colour, the mean of what three sentences say."""
        if name not in self.known:
            told = [sentence.format(colour, name) for colour in COLOURS for sentence in TELLINGS]
            each = self.pair.texts(told).view(len(COLOURS), len(TELLINGS), -1)
            self.known[name] = F.normalize(each.mean(1), dim=-1)
        return self.known[name]

    def tell(self, image: Image.Image, objects: Sequence[Found]) -> list[str]:
        crops = [alone(image, each) for each in objects]
        scores = self.pair.images(crops) @ self.of(objects[0].name).T
        return [COLOURS[place] for place in scores.argmax(-1).tolist()]


def alone(image: Image.Image, found: Found) -> Image.Image:
    """The object cut out, with grey around it."""
    mask = Image.fromarray(found.mask.numpy())
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, GREY), mask).crop(found.box)


@JUDGES.register("geneval")
class GenEvalLike(Judge):
    """1 where all that the prompt asks for is there, else 0."""

    title = "GenEval-like (Mask2Former of transformers)"
    unit = "share right"
    packages = {"transformers": "transformers"}
    repositories = (REPOSITORY, CLIP_LARGE)
    asks = True

    def __init__(self, root, device):
        self.detector = Detector(root, device)
        self.colours = Colours(ClipPair(CLIP_LARGE.folder(root), device))

    def score(self, images, prompts):
        marks = []
        for image, prompt in zip(images, prompts, strict=True):
            counting = prompt.asked.get("tag") == "counting"
            found = self.detector.find(image, SURE_OF_COUNTS if counting else SURE)
            marks.append(right(prompt.asked, found, lambda objects, image=image: self.colours.tell(image, objects)))
        return checked("geneval", torch.tensor(marks).float(), len(images))
