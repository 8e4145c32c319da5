"""Pictures: how they are named, what they carry, and how they come back."""

import errno
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import run_workflow
from runner.files import Document, read_document
from runner.images import Folders
from runner.local import check_folders
from runner.naming import expand_prefix
from runner.problems import RunError, WorkflowError
from runner.settings import apply_settings
from support.fake_nodes import node, workflow
from support.prompts import api
from support.trials import is_sentence


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


PREFIXES = {
    "": "names no file",
    ".": "names no file",
    "..": "leads out",
    "../x": "leads out",
    "sub/../../x": "leads out",
    "/tmp/x": "leads out",
    "//x/y/z": "leads out",
    "..\\x": "leads out",
    "C:/x": "leads out",
    ".. /x": "leads out",
    "%date:../../x%": "leads out",
    "%date:/%tmp/x": "leads out",
    "away/x": "leads out",
    "round/x": "leads out",
    "a\0b": "characters that no file name has",
    "a\x1b[2Jb": "characters that no file name has",
    "a\ud800": "characters that no file name has",
    "x" * 201: "more than 200 bytes",
    "é" * 101: "more than 200 bytes",
    "x/" * 300: "of 600 characters; 500 are accepted",
}


@pytest.mark.parametrize("prefix, sentence", PREFIXES.items())
def test_prefixes_that_name_no_file_below_the_output(library, tmp_path, prefix, sentence):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "round").symlink_to(tmp_path / "out" / "round")
    told = library.classes["SaveImage"].VALIDATE_INPUTS(prefix)
    assert sentence in told and is_sentence(told)
    with pytest.raises(RunError, match=sentence):
        library.classes["SaveImage"]().save_images(torch.zeros(1, 4, 4, 3), prefix)
    assert not list((tmp_path / "elsewhere").iterdir()) and {p.name for p in tmp_path.iterdir()} == {"out", "elsewhere"}


def test_prefixes_that_are_taken(library, tmp_path):
    for prefix, name in {
        "a/": "a",
        "sub\\pic": "sub/pic",
        "./b": "b",
        "é\u200dé": "é\u200dé",
        "v1./c": "v1./c",
        "夜\u3000明け": "夜\u3000明け",
        "\N{NO-BREAK SPACE}x": "\N{NO-BREAK SPACE}x",
        "6:09": "6:09",
    }.items():
        assert library.classes["SaveImage"].VALIDATE_INPUTS(prefix) is True
        saved = library.classes["SaveImage"]().save_images(torch.zeros(1, 4, 4, 3), prefix)["ui"]["saved"]
        assert saved == [tmp_path / "out" / f"{name}_00001_.png"]


IMAGES = {
    "NaN": (torch.full((2, 4, 4, 3), float("nan")), "image 1 of 2 holds values that are not finite"),
    "infinite": (torch.tensor([0.0, float("inf")])[:, None, None, None].expand(2, 4, 4, 3), "image 2 of 2 holds"),
    "five channels": (torch.zeros(1, 4, 4, 5), r"images are \[1, 4, 4, 5\]"),
    "no batch": (torch.zeros(4, 4, 3), r"images are \[4, 4, 3\]"),
    "none": (torch.zeros(0, 4, 4, 3), r"images are \[0, 4, 4, 3\]"),
    "bytes": (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "images are of torch.uint8"),
    "without values": (torch.zeros(1, 4, 4, 3, device="meta"), "images are without values"),
    "huge": (torch.zeros(1, 1, 1, 1).expand(1, 2**20, 2**20, 3), "1048576 x 1048576 pixels; accepted are 67,108,864"),
    "many": (torch.zeros(1, 1, 1, 1).expand(2**40, 4, 4, 3), "65536 at once"),
    "a text": ("picture", "images are str"),
}


@pytest.mark.parametrize("images, sentence", IMAGES.values(), ids=IMAGES)
def test_what_is_no_picture_is_not_saved_as_one(library, tmp_path, images, sentence):
    with pytest.raises(RunError, match=sentence):
        library.classes["SaveImage"]().save_images(images, "pic")
    assert not (tmp_path / "out").exists()


def test_names_of_pictures_stay_in_the_input_folders(library, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("secret.png", "in/a.png", "in/sub/b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "in" / "mine.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "folder.png").mkdir()
    check = library.classes["LoadImage"].VALIDATE_INPUTS
    for name in ("a.png", "sub/b.png", "a.png [input]", "mine.png"):
        assert check(name) is True and library.classes["LoadImage"]().load_image(name)
    outside = ("../secret.png", "sub/../../secret.png", str(tmp_path / "secret.png"), "..\\secret.png", "../in/a.png")
    for name in (*outside, "pipe.png", "folder.png", "", ".", "x" * 300, "x" * 100_000, "a\0", "\ud800.png", None):
        assert "Invalid image file" in check(name) and is_sentence(check(name))
        with pytest.raises(RunError, match="Invalid image file"):
            library.classes["LoadImage"]().load_image(name)


def test_the_list_of_pictures_outlives_what_lies_there(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "round.png").symlink_to(folder / "round.png")
    (folder / "gone.png").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    for name in (b"a.PNG", b"b.txt", b"\xff.png"):
        (folder / os.fsdecode(name)).write_bytes(b"")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    folders = Folders((folder, locked, tmp_path / "none", folder / "a.PNG"), tmp_path)
    assert folders.pictures() == ["a.PNG", "\udcff.png"]


def spoiled(tmp_path) -> dict[str, bytes]:
    file = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(file)
    whole = file.read_bytes()
    head = b"IHDR" + struct.pack(">II", 30_000, 30_000) + whole[24:29]
    Image.new("RGB", (2, 2)).save(tmp_path / "run.eps")
    return {
        "cut short": whole[: len(whole) // 2],
        "flipped": whole[:300] + b"\xff" * 100 + whole[400:],
        "empty": b"",
        "a text": b"not a picture",
        "a bomb": whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:],
        "a program": (tmp_path / "run.eps").read_bytes(),
    }


def test_pictures_that_cannot_be_read(library, tmp_path):
    (tmp_path / "in").mkdir()
    for kind, content in spoiled(tmp_path).items():
        (tmp_path / "in" / "a.png").write_bytes(content)
        for load in (library.classes["LoadImage"]().load_image, lambda name: mask_of(library, name)):
            with pytest.raises(RunError, match=r"picture 'a\.png'") as told:
                load("a.png")
            assert is_sentence(str(told.value)), kind
            assert kind != "a bomb" or "50,331,648" in str(told.value)


def mask_of(library, name):
    return library.classes["LoadImageMask"]().load_mask(name, "alpha")


def test_odd_notes_beside_the_workflow(library, tmp_path):
    notes = {"workflow": {"\0\ud800é": float("nan")}, "é": 1, "": 2, "a b": 3, "mgt_settings": "x" * 100_000}
    (path,) = library.classes["SaveImage"]().save_images(torch.zeros(1, 4, 4, 3), "a", {}, notes)["ui"]["saved"]
    with Image.open(path) as image:
        assert set(image.text) == {"prompt", "workflow", "mgt_settings"}


@pytest.mark.skipif(os.name == "nt", reason="nothing there is always full")
def test_a_full_disk_leaves_no_picture(command, tmp_path, monkeypatch):
    def full(self, stream, *args, **options):
        stream.write(b"\x89PNG")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    code, _, err = command(pictures())
    assert (code, err) == (1, 'Node 2 "Save Image" (SaveImage): No space left on device\n')
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_cannot_be_written(command, tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied", str(options["dir"]))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    code, _, err = command(pictures())
    assert code == 1 and "Cannot save: output folder" in err and "Permission denied" in err
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800"])
def test_output_names_that_no_disk_takes(tmp_path, name):
    with pytest.raises(WorkflowError, match="Cannot save: output folder") as told:
        check_folders(Folders((), tmp_path / name))
    assert is_sentence(str(told.value))
