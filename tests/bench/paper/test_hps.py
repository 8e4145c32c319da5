"""HPSv2.1: what it is shown, and its network through open-clip-torch, where that is installed."""

import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bench.paper.judges.base import JUDGES
from bench.paper.prompts import Prompt
from mgt_core import MGTError
from mgt_core.rewards.clip_pair import ARCHITECTURE
from mgt_core.rewards.pixels import CLIP_MEAN, CLIP_STD, whole_pixels
from support.judges import hps_judge

needs_open_clip = pytest.mark.skipif(
    importlib.util.find_spec("open_clip") is None,
    reason="open-clip-torch is not installed (pip install open-clip-torch)",
)
CPU = torch.device("cpu")


def pictures(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [Image.fromarray((torch.rand(h, w, 3, generator=generator) * 255).to(torch.uint8).numpy()) for h, w in sizes]


@needs_open_clip
@torch.inference_mode()
def test_a_hundred_times_the_cosine(tmp_path):
    import open_clip

    hps_judge(tmp_path)
    images, prompts = pictures((40, 60), (28, 28)), [Prompt("a red heart"), Prompt("a dog " * 60)]
    judge = JUDGES.get("hps")(tmp_path, CPU)
    words = open_clip.get_tokenizer("ViT-H-14")([prompt.text for prompt in prompts])
    seen = judge.pair.network.encode_image(whole_pixels(images, 28))
    expected = 100 * F.cosine_similarity(seen, judge.pair.network.encode_text(words))
    torch.testing.assert_close(judge.score(images, prompts), expected, rtol=1e-5, atol=1e-4)
    stored = torch.load(tmp_path / "HPSv2" / "HPS_v2.1_compressed.pt")["state_dict"]
    assert torch.equal(judge.pair.network.visual.proj, stored["visual.proj"])


def plain(shown):
    """Pixels [N, 3, H, W] before they were normalized."""
    return shown * torch.tensor(CLIP_STD)[:, None, None] + torch.tensor(CLIP_MEAN)[:, None, None]


def by_pillow(image, size):
    """The longer side to `size` by Pillow's bicubic on floats, in the middle of black: [3, size, size]."""
    width, height = (round(side * size / max(image.size)) for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    found = torch.zeros(3, size, size)
    for held, band in zip(found, image.split(), strict=True):
        values = Image.fromarray(np.asarray(band, np.float32) / 255)
        held[top : top + height, left : left + width] = torch.from_numpy(
            np.array(values.resize((width, height), Image.Resampling.BICUBIC))
        )
    return found


SIZES = [(256, 256), (300, 256), (256, 391), (100, 57), (224, 224), (224, 101)]


@pytest.mark.parametrize("size", SIZES)
def test_whole_pictures_resized_as_floats(size):
    (image,) = pictures(size)
    image = image.point(lambda value: 255 * (value > 127))  # edges, of which bicubic goes beyond what a byte holds
    shown = plain(whole_pixels([image], 224)[0])
    torch.testing.assert_close(shown, by_pillow(image, 224), rtol=0, atol=5e-5)
    if max(size) != 224:
        assert shown.min() < -0.01 and shown.max() > 1.01


@pytest.mark.parametrize("upright", [False, True])
def test_all_of_a_picture_is_seen_between_black_bars(upright):
    """Red and green at the far ends, which a crop of the middle would lose."""
    pixels = np.full((100, 224, 3), 255, np.uint8)
    pixels[:, :20], pixels[:, -20:] = (255, 0, 0), (0, 255, 0)
    image = Image.fromarray(pixels.transpose(1, 0, 2) if upright else pixels)
    shown = plain(whole_pixels([image], 112)[0])
    shown = shown.transpose(1, 2) if upright else shown
    assert shown.shape == (3, 112, 112)
    bars = torch.cat([shown[:, :31], shown[:, 81:]], 1)
    torch.testing.assert_close(bars, torch.zeros_like(bars), rtol=0, atol=1e-6)
    for place, colour in ((0, (1, 0, 0)), (56, (1, 1, 1)), (111, (0, 1, 0))):
        seen = shown[:, 31:81, place]
        torch.testing.assert_close(seen, torch.tensor(colour).float()[:, None].expand(3, 50), rtol=0, atol=0.01)


@pytest.mark.parametrize("size", SIZES[:-1])
def test_pixels_are_those_of_torchvision(size):
    """Which the released scorer calls on pictures that are tensors already."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    (image,) = pictures(size)
    shape = [round(side * 224 / max(size)) for side in size]
    values = functional.resize(functional.to_tensor(image), shape, functional.InterpolationMode.BICUBIC, antialias=True)
    high, wide = (224 - side for side in shape)
    values = functional.pad(values, [wide // 2, high // 2, wide - wide // 2, high - high // 2])
    expected = functional.normalize(values, CLIP_MEAN, CLIP_STD)
    torch.testing.assert_close(whole_pixels([image], 224)[0], expected, rtol=0, atol=1e-5)


@needs_open_clip
def test_the_published_network_has_the_size_it_is_built_with():
    """Its state's names are those of the network that the released code builds (open_clip's CLIP)."""
    import open_clip

    config = open_clip.get_model_config(ARCHITECTURE)
    with torch.device("meta"):
        names = open_clip.CLIP(**config).state_dict()
    assert config["vision_cfg"]["image_size"] == 224 and config["text_cfg"]["context_length"] == 77
    assert names["visual.conv1.weight"].shape == (1280, 3, 14, 14) and names["text_projection"].shape == (1024, 1024)
    assert sum(value.numel() for value in names.values()) == 986_109_441


@needs_open_clip
@pytest.mark.parametrize("change", ["name", "shape"])
def test_other_weights_are_one_sentence(tmp_path, change):
    file = hps_judge(tmp_path) / "HPS_v2.1_compressed.pt"
    held = torch.load(file)
    value = held["state_dict"].pop("visual.proj")
    held["state_dict"]["visual.projection" if change == "name" else "visual.proj"] = value[:1]
    torch.save(held, file)
    with pytest.raises(MGTError, match="does not hold HPSv2's network") as error:
        JUDGES.get("hps")(tmp_path, CPU)
    assert "\n" not in str(error.value)
