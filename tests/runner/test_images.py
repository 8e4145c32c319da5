"""Pictures: how they are named, what they carry, and how they come back."""

import json

import numpy as np
import torch
from PIL import Image

import run_workflow
from runner.files import Document, read_document
from runner.images import expand_prefix
from runner.settings import apply_settings
from support.fake_nodes import node, workflow
from support.prompts import api


def pictures(prefix="pic", batch=2):
    return workflow(
        [
            node(1, "Picture", [batch], outputs=("IMAGE",)),
            node(2, "SaveImage", [prefix], [("images", "IMAGE", 1)]),
        ],
        [(1, 1, 0, 2, 0, "IMAGE")],
    )


def test_pictures_carry_their_workflow(command, tmp_path, library):
    graph = pictures()
    code, out, _ = command(graph, "--set", "1.batch=1")
    saved = tmp_path / "out" / "pic_00001_.png"
    assert (code, out) == (0, f"Saved {saved}\n")
    with Image.open(saved) as image:
        assert (image.size, image.mode) == ((6, 8), "RGB")
        texts = image.text
    assert json.loads(texts["workflow"]) == apply_settings(graph, ["1.batch=1"], library.object_info)
    assert json.loads(texts["prompt"])["1"]["inputs"] == {"batch": 1}
    assert read_document(saved) == Document(ui=json.loads(texts["workflow"]))


def test_a_picture_can_be_run(command, tmp_path):
    command(pictures(batch=1))
    code, out, _ = command(tmp_path / "out" / "pic_00001_.png")
    assert (code, out) == (0, f"Saved {tmp_path / 'out' / 'pic_00002_.png'}\n")


def test_a_picture_of_a_prompt_can_be_run(command, tmp_path, library):
    prompt = run_workflow.to_api(pictures(batch=1), library.object_info)
    command(prompt)
    saved = tmp_path / "out" / "pic_00001_.png"
    with Image.open(saved) as image:
        assert set(image.text) == {"prompt"}
    assert command(saved)[0] == 0


def test_a_picture_without_a_workflow(command, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "bare.png")
    code, _, err = command(tmp_path / "bare.png")
    assert code == 1 and err.endswith("bare.png is a PNG image without a workflow in it.\n")


def test_nothing_is_overwritten(command, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "pic_00007_.png").write_bytes(b"mine")
    (out / "picture_00020_.png").write_bytes(b"another's")
    command(pictures())
    assert {p.name for p in out.glob("pic_*")} == {"pic_00007_.png", "pic_00008_.png", "pic_00009_.png"}
    assert (out / "pic_00007_.png").read_bytes() == b"mine"


def test_prefix_with_a_folder_and_the_size(command, tmp_path):
    command(pictures("sub/%width%x%height%", 1))
    assert (tmp_path / "out" / "sub" / "6x8_00001_.png").exists()


def test_prefix_with_a_date():
    year = expand_prefix("%date:yyyy%", 1, 1)
    assert expand_prefix("a_%year%_%unknown%", 1, 1) == f"a_{year}_%unknown%"
    assert len(expand_prefix("%date:yyyy-MM-dd hhmmss%", 1, 1)) == len("2000-01-01 000000")


def test_previews_go_to_a_folder_of_their_own(command, tmp_path):
    command(api(n1=("Picture", {"batch": 1}), n2=("PreviewImage", {"images": ["1", 0]})))
    assert [p.name for p in (tmp_path / "out" / "temp").iterdir()] == ["ComfyUI_temp_00001_.png"]


def test_pictures_come_back_as_they_were_saved(library, tmp_path):
    command_image = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4) * 3
    (tmp_path / "in").mkdir()
    Image.fromarray(command_image, "RGBA").save(tmp_path / "in" / "a.png")
    image, mask = library.classes["LoadImage"]().load_image("a.png")
    assert (image.shape, mask.shape) == ((1, 4, 5, 3), (1, 4, 5))
    assert torch.equal((image * 255).round().byte()[0], torch.from_numpy(command_image[..., :3].copy()))
    assert torch.allclose(1 - mask[0], torch.from_numpy(command_image[..., 3] / 255).float())
    (red,) = library.classes["LoadImageMask"]().load_mask("a.png [input]", "red")
    assert torch.equal(red, image[..., 0])


def test_no_output_folder_can_be_made(command, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, _, err = command(pictures())
    assert code == 1 and "Cannot save: output folder" in err
