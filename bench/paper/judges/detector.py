"""Objects in a picture by transformers' Mask2Former (arXiv 2112.01527): what, where, and which pixels."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mgt_core.errors import MGTError, reason
from mgt_core.loading.disk import read_json
from mgt_core.loading.weights import index_weights, read_tensors
from mgt_core.rewards.pixels import normalized
from mgt_core.rewards.repository import Repository

REPOSITORY = Repository(
    "facebook/mask2former-swin-small-coco-instance",
    ("config.json", "preprocessor_config.json", "model.safetensors|pytorch_model.bin"),
)
# COCO's 80 categories in their order, worded as GenEval's prompts have them.
NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote"),
    *("computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock"),
    *("vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)


@dataclass(frozen=True)
class Found:
    """An object. box: left, top, right, bottom in pixels, the last two beyond it; mask: [H, W] bool."""

    name: str
    sureness: float
    box: tuple[int, int, int, int]
    mask: Tensor


def instances(classes: Tensor, masks: Tensor, size: tuple[int, int], least: float) -> list[Found]:
    """The objects of one picture, the surest first, as Mask2Former's instance segmentation has them: the Q likeliest
    pairs of query and category, each as sure as its category's probability times the mean probability in its mask.

    classes: [Q, C + 1] logits, the last for nothing; masks: [Q, h, w] logits. size: (height, width) of the picture.
    least: sureness below which an object does not count.
    """
    queries, categories = len(classes), classes.shape[1] - 1
    likely, places = classes.softmax(-1)[:, :-1].flatten().topk(queries)
    found = []
    for chance, place in zip(likely.tolist(), places.tolist(), strict=True):
        if chance <= least:
            break
        mask = F.interpolate(masks[None, None, place // categories].float(), size, mode="bilinear")[0, 0]
        inside = mask > 0
        if not bool(inside.any()):
            continue
        sureness = chance * float(mask.sigmoid()[inside].mean())
        if sureness > least:
            found.append(Found(NAMES[place % categories], sureness, box_of(inside), inside.cpu()))
    return sorted(found, key=lambda each: -each.sureness)


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class Detector:
    """Its network alone, without the losses, and the layer that names the queries."""

    def __init__(self, root: Path, device: torch.device):
        from transformers import Mask2FormerModel

        folder = REPOSITORY.folder(root)
        try:
            self.model = Mask2FormerModel.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # each library has its own for a file that is damaged
            raise MGTError(f"{folder} does not hold a readable Mask2Former ({reason(error)})") from None
        self.model = self.model.eval().to(device, torch.float32)
        self.naming = naming(folder, self.model.config.hidden_dim).to(device)
        told = read_json(folder / "preprocessor_config.json")
        self.size = told["size"]["width"], told["size"]["height"]
        self.mean, self.std, self.device = told["image_mean"], told["image_std"], device

    def find(self, image: Image.Image, least: float) -> list[Found]:
        resized = image.convert("RGB").resize(self.size, Image.Resampling.BILINEAR)
        pixels = normalized([resized], self.mean, self.std).to(self.device)
        out = self.model(pixel_values=pixels, output_hidden_states=True)
        classes = self.naming(out.transformer_decoder_intermediate_states[-1].transpose(0, 1))
        return instances(classes[0], out.masks_queries_logits[-1][0], image.size[::-1], least)


def naming(folder: Path, width: int) -> nn.Linear:
    """The layer from a query to its category. Raises MGTError unless those are COCO's 80 and nothing."""
    layer = nn.Linear(width, len(NAMES) + 1)
    stored = index_weights(folder)
    wanted = {f"class_predictor.{name}": value for name, value in layer.named_parameters()}
    for name, value in wanted.items():
        if name not in stored or stored[name].shape != tuple(value.shape):
            shape = stored[name].shape if name in stored else "none"
            raise MGTError(f"{folder} names other objects than COCO's {len(NAMES)}: {name} is {shape}")
    with torch.no_grad():
        for name, value in read_tensors(stored, wanted):
            wanted[name].copy_(value)
    return layer
