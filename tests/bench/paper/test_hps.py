"""HPSv2.1 through open-clip-torch, which needs torchvision: where both are installed."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bench.paper.judges.base import JUDGES
from bench.paper.judges.hps import ARCHITECTURE
from bench.paper.judges.pixels import clip_pixels
from bench.paper.prompts import Prompt
from mgt_core import MGTError
from support.judges import hps_judge

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("open_clip") is None,
    reason="open-clip-torch is not installed (pip install open-clip-torch)",
)
CPU = torch.device("cpu")


def pictures(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [Image.fromarray((torch.rand(h, w, 3, generator=generator) * 255).to(torch.uint8).numpy()) for h, w in sizes]


@torch.inference_mode()
def test_a_hundred_times_the_cosine(tmp_path):
    import open_clip

    hps_judge(tmp_path)
    images, prompts = pictures((40, 40), (28, 28)), [Prompt("a red heart"), Prompt("a dog " * 60)]
    judge = JUDGES.get("hps")(tmp_path, CPU)
    words = open_clip.get_tokenizer("ViT-H-14")([prompt.text for prompt in prompts])
    seen = judge.model.encode_image(clip_pixels(images, 28))
    expected = 100 * F.cosine_similarity(seen, judge.model.encode_text(words))
    torch.testing.assert_close(judge.score(images, prompts), expected, rtol=1e-5, atol=1e-4)
    stored = torch.load(tmp_path / "HPSv2" / "HPS_v2.1_compressed.pt")["state_dict"]
    assert torch.equal(judge.model.visual.proj, stored["visual.proj"])


def test_pixels_are_those_of_open_clip():
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(size=224), is_train=False)
    for image in pictures((256, 256), (300, 256)):
        torch.testing.assert_close(clip_pixels([image], 224)[0], transform(image), rtol=0, atol=1e-5)


def test_the_published_network_has_the_size_it_is_built_with():
    """Its state's names are those of the network that the released code builds (open_clip's CLIP)."""
    import open_clip

    config = open_clip.get_model_config(ARCHITECTURE)
    with torch.device("meta"):
        names = open_clip.CLIP(**config).state_dict()
    assert config["vision_cfg"]["image_size"] == 224 and config["text_cfg"]["context_length"] == 77
    assert names["visual.conv1.weight"].shape == (1280, 3, 14, 14) and names["text_projection"].shape == (1024, 1024)
    assert sum(value.numel() for value in names.values()) == 986_109_441


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
