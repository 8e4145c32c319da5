"""The GenEval-like judge: what is found in a picture, and whether that is what was asked for."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from bench.paper.judges.base import lacking
from bench.paper.judges.detector import NAMES, Detector, Found, instances
from bench.paper.judges.geneval import COLOURS, Colours, GenEvalLike, alone, relations, right
from bench.paper.prompts import Prompt
from mgt_core import MGTError
from mgt_core.rewards.clip_pair import ClipPair
from support.bundles import edit_weights
from support.judges import clip_judge, detector

CPU = torch.device("cpu")
EVERYWHERE = torch.ones(4, 4, dtype=torch.bool)


def found(name, left=0, top=0, size=10, sureness=0.99):
    return Found(name, sureness, (left, top, left + size, top + size), EVERYWHERE)


@pytest.mark.parametrize(
    "one, expected",
    [
        ((0, 50), {"left of"}),
        ((100, 50), {"right of"}),
        ((50, 0), {"above"}),
        ((50, 100), {"below"}),
        ((0, 0), {"left of", "above"}),
        ((50, 50), set()),
        ((51, 50), set()),  # nearer than a tenth of both widths
        ((60, 50), {"right of"}),
    ],
)
def test_where_one_lies_of_the_other(one, expected):
    assert relations(found("dog", *one), found("cat", 50, 50)) == expected


TWO_DOGS = {"include": [{"class": "dog", "count": 2}], "exclude": [{"class": "dog", "count": 3}]}
RED_DOG = {"include": [{"class": "dog", "count": 1, "color": "red"}]}
DOG_LEFT = {"include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}]}


@pytest.mark.parametrize(
    "asked, objects, expected",
    [
        (TWO_DOGS, [found("dog")] * 2, True),
        (TWO_DOGS, [found("dog")], False),
        (TWO_DOGS, [found("dog")] * 3, False),
        (TWO_DOGS, [found("cat")] * 2, False),
        (RED_DOG, [found("dog", size=9)], True),
        (RED_DOG, [found("dog", size=8)], False),
        (RED_DOG, [found("dog", size=8), found("dog", size=9)], False),  # the surest alone counts
        (DOG_LEFT, [found("dog", 0), found("cat", 50)], True),
        (DOG_LEFT, [found("dog", 50), found("cat", 0)], False),
        (DOG_LEFT, [found("dog", 0)], False),
    ],
)
def test_whether_a_picture_is_right(asked, objects, expected):
    def tell(some):  # odd ones are red
        return ["red" if each.box[2] % 2 else "blue" for each in some]

    assert right(asked, objects, tell) is expected


def test_objects_are_read_from_queries():
    """Two queries see something, of which one is a dog for sure; a category's chance times that of its mask."""
    classes = torch.full((3, 81), -9.0)
    classes[0, NAMES.index("dog")] = 9.0
    classes[1, [NAMES.index("cat"), 80]] = 2.0  # a cat or nothing
    classes[2, 80] = 9.0
    masks = torch.full((3, 8, 8), -9.0)
    masks[0, 2:4, 1:6] = 9.0
    masks[1, 5:8, 5:8] = 9.0
    dog, cat = instances(classes, masks, (8, 8), 0.3)
    assert (dog.name, dog.box, cat.name, cat.box) == ("dog", (1, 2, 6, 4), "cat", (5, 5, 8, 8))
    assert dog.sureness > 0.99 and cat.sureness == pytest.approx(0.5, abs=0.01)
    assert torch.equal(dog.mask, masks[0] > 0)
    assert [each.name for each in instances(classes, masks, (8, 8), 0.6)] == ["dog"]
    assert instances(classes, masks, (16, 32), 0.3)[0].box == (4, 4, 24, 8)


def test_an_object_alone_stands_on_grey():
    image = Image.new("RGB", (8, 8), "red")
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:4] = True
    cut = alone(image, Found("dog", 1.0, (2, 2, 6, 6), mask))
    assert cut.size == (4, 4) and cut.getpixel((0, 0)) == (255, 0, 0) and cut.getpixel((3, 3)) == (0x99,) * 3


@torch.inference_mode()
def test_colours_are_told_by_the_nearest_direction(judges):
    pair = ClipPair(judges / "clip-vit-large-patch14", CPU)
    sentences = ("a photo of a {} dog", "a photo of a {}-colored dog", "a photo of a {} object")
    whole = [Found("dog", 1.0, (0, 0, 30, 30), torch.ones(30, 30, dtype=torch.bool))]
    for image in (Image.new("RGB", (30, 30), name) for name in ("red", "white")):
        seen = pair.images([image])[0]
        means = {colour: pair.texts([text.format(colour) for text in sentences]).mean(0) for colour in COLOURS}
        scores = {colour: float(F.cosine_similarity(mean, seen, dim=0)) for colour, mean in means.items()}
        assert Colours(pair).tell(image, whole) == [max(scores, key=scores.get)]


def test_the_detector_reads_the_published_layout(judges):
    """The same queries and masks as from transformers' network and the naming layer, applied by hand."""
    from safetensors.torch import load_file
    from transformers import Mask2FormerModel

    folder = judges / "mask2former-swin-small-coco-instance"
    image = Image.new("RGB", (48, 32), "navy")
    ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill="orange")
    with torch.inference_mode():
        own = Detector(judges, CPU)
        seen = own.find(image, 0.0)
        model, weights = Mask2FormerModel.from_pretrained(folder).eval(), load_file(folder / "model.safetensors")
        pixels = torch.frombuffer(
            bytearray(image.resize((64, 64), Image.Resampling.BILINEAR).tobytes()), dtype=torch.uint8
        )
        pixels = pixels.view(64, 64, 3).permute(2, 0, 1)[None] / 255
        pixels = (pixels - torch.tensor(own.mean)[:, None, None]) / torch.tensor(own.std)[:, None, None]
        out = model(pixels, output_hidden_states=True)
    queries = out.transformer_decoder_intermediate_states[-1].transpose(0, 1)
    classes = queries @ weights["class_predictor.weight"].T + weights["class_predictor.bias"]
    again = instances(classes[0], out.masks_queries_logits[-1][0], (32, 48), 0.0)
    assert seen and [(each.name, each.box) for each in seen] == [(each.name, each.box) for each in again]


def test_the_whole_judge(judges):
    """Its verdict follows what the detector finds."""
    judge = GenEvalLike(judges, CPU)
    images = [Image.new("RGB", (64, 64), "navy"), Image.new("RGB", (64, 64), "orange")]
    with torch.inference_mode():
        names = [each.name for each in judge.detector.find(images[0], 0.0)]
        judge.detector.find = lambda image, least, find=judge.detector.find: find(image, 0.0)
        there, absent = (
            {"tag": "two_object", "include": [{"class": n, "count": 1}]} for n in (names[0], "no such thing")
        )
        marks = judge.score(images[:1] * 2, [Prompt("x", asked=there), Prompt("x", asked=absent)])
    assert marks.tolist() == [1.0, 0.0]


def test_what_it_refuses(tmp_path, judges):
    assert "give --prompts geneval:N" in lacking("geneval", judges, [Prompt("a dog")])
    assert lacking("geneval", judges, [Prompt("a dog", asked={"include": []})]) is None
    assert "clip-vit-large-patch14" in lacking("geneval", tmp_path) and "preprocessor_config" in lacking(
        "geneval", tmp_path
    )
    clip_judge(tmp_path)
    edit_weights(detector(tmp_path), lambda held: held | {"class_predictor.bias": torch.ones(92)})
    with pytest.raises(MGTError, match="names other objects than COCO's 80"):
        GenEvalLike(tmp_path, CPU)
