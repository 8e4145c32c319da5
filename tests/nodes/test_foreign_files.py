"""Lists of what can be picked, where other things lie in the folders: they are left out, and nothing else is."""

import json
import logging
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch

from mgt_core.folders import OLD
from mgt_core.loading import listing
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import copy_bundle, openmuse_bundle
from support.encoders import clip_model
from support.fake_comfy import FakeFolderPaths
from support.pack import ALIAS
from support.pickles import tensor, write_pickle

host = sys.modules[f"{ALIAS}.nodes.host"]
choices = sys.modules[f"{ALIAS}.nodes.choices"]
KINDS = ("mgt", "diffusers", "diffusion_models", "checkpoints", "text_encoders", "clip", "clip_vision", "vae", "loras")
PIPES = hasattr(os, "mkfifo")


class FolderPaths(FakeFolderPaths):
    """With ComfyUI's list of files, which goes through all folders below."""

    def get_filename_list(self, kind):
        (root,) = self.folder_names_and_paths[kind][0]
        files = (Path(place) / name for place, _, names in os.walk(root) for name in names)
        return sorted(str(file.relative_to(root)) for file in files if file.suffix in (".safetensors", ".pt"))

    def get_full_path(self, kind, name):
        (root,) = self.folder_names_and_paths[kind][0]
        return os.path.join(root, name) if os.path.isfile(os.path.join(root, name)) else None


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """ComfyUI's models folder, with one good bundle."""
    paths = {kind: [tmp_path / kind] for kind in KINDS}
    for (path,) in paths.values():
        path.mkdir()
    copy_bundle(tmp_path / "mgt" / "good")
    (tmp_path / "mgt" / "presets").mkdir()
    (tmp_path / "mgt" / "self_guidance").mkdir()
    monkeypatch.setitem(sys.modules, "folder_paths", FolderPaths(tmp_path, **paths))
    return tmp_path


def lists() -> dict[str, list[str]]:
    """All names that the widgets offer."""
    offered = {
        "bundles": host.bundles(),
        "codecs": host.codecs(),
        "text_encoders": host.text_encoders(),
        "branches": host.branches(),
        "lenders": host.lenders("vqvae"),
        "presets": host.presets(),
        "loras": host.loras(),
    }
    told = [choices.models(), choices.left_out()]  # what is left out comes with its reason
    assert set(told[0]) >= set(offered["bundles"])
    json.dumps([{name: list(found) for name, found in offered.items()}, told], ensure_ascii=False).encode()
    return {name: list(found) for name, found in offered.items()}


def places(models: Path) -> list[Path]:
    return [*(models / kind for kind in KINDS), models / "mgt" / "presets", models / "mgt" / "self_guidance"]


def raw(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(16)


def saved(held: object):
    return lambda file: torch.save(held, file)


def written(content: bytes):
    return lambda file: file.write_bytes(content)


def large(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(2**32)


FILES = {
    "by numbers": ("a.pt", saved({7: torch.ones(2), 8: {"a": 1}})),
    "sparse": ("a.pt", saved({"a": torch.eye(3).to_sparse()})),
    "meta": ("a.pt", saved({"a": torch.ones(3, device="meta")})),
    "a tensor": ("a.pt", saved(torch.ones(3))),
    "a network": ("a.pt", saved(torch.nn.Linear(2, 2))),
    "a bomb": ("a.pth", lambda file: write_pickle(file, {"a": tensor(10**6, 10**6)}, {"0": bytes(10**7)}, packed=True)),
    "deep opcodes": ("a.bin", written(b"\x80\x02" + b"]" * 100_000)),
    "deep": ("a.safetensors", written(raw(b'{"a":' * 30_000))),
    "digits": ("a.safetensors", written(raw(b'{"a":' + b"9" * 5000 + b"}"))),
    "offsets": ("a.safetensors", written(raw(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,1e400]}}'))),
    "large": ("a.safetensors", large),
    "large preset": ("a.json", large),
    "broken preset": ("a.json", written(b'{"description": ')),
    "deep preset": ("b.json", written(b"[" * 100_000)),
}


@pytest.mark.parametrize("name, make", FILES.values(), ids=FILES)
def test_foreign_files(models, name, make):
    before = lists()
    for place in places(models):
        make(place / name)
    after = lists()
    assert after.pop("presets")[: len(before["presets"])] == before.pop("presets")
    for kind in ("loras", "branches"):  # by their names alone
        assert set(before.pop(kind)) <= set(after.pop(kind))
    assert after == before and "good" in after["bundles"] and "demo" in after["bundles"]


CONFIGS = {
    "deep": b'{"a":' * 30_000,
    "digits": b'{"model_type": "clip", "a": ' + b"9" * 5000 + b"}",
    "not text": b"\xff\xfe\0",
    "a list": b"[]",
    "types": b'{"model_type": {"clip": []}, "architectures": 5}',
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_foreign_configs(models, content):
    before = lists()
    for place in places(models)[: len(KINDS)]:
        (place / "other").mkdir()
        (place / "other" / "config.json").write_bytes(content)
        torch.save({"a": torch.ones(1)}, place / "other" / "pytorch_model.bin")
        (place / "other.json").write_bytes(content)
    assert lists() == before


def loop(path: Path) -> None:
    path.symlink_to(path)


def upwards(path: Path) -> None:
    path.mkdir()
    for number in range(3):
        (path / f"up{number}").symlink_to("..")
        (path / f"same{number}").symlink_to(".")


THINGS = {
    "pipe": os.mkfifo if PIPES else Path.mkdir,
    "loop": loop,
    "links upwards": upwards,
    "folder": Path.mkdir,
    "broken link": lambda path: path.symlink_to("nowhere"),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "a whole disk": lambda path: path.symlink_to("/proc" if os.path.isdir("/proc") else "/"),
}
NAMES = ("a.pt", "a.safetensors", "a.json", "config.json", "model_index.json", "folder", "transformer")


@pytest.mark.parametrize("make", THINGS.values(), ids=THINGS)
def test_things_that_are_no_files(models, make):
    before = lists()
    for place in places(models):
        (place / "deeper" / "still").mkdir(parents=True)
        for name in NAMES:
            make(place / name)
            make(place / "deeper" / name)
            make(place / "deeper" / "still" / name)
    assert lists() == before


@pytest.mark.parametrize("name", ["model_index.json", "config.json", "transformer/config.json"])
def test_what_was_unpacked_among_all_others_hides_none(models, name):
    openmuse_bundle(models / "mgt" / "muse")
    clip_model(models / "text_encoders" / "clip")
    shutil.copytree(models / "mgt" / "good" / "vqvae", models / "vae" / "codec")
    shutil.copytree(models / "mgt" / "good" / "transformer", models / "mgt" / "alone")
    before = lists()
    assert "alone" in before["bundles"] and "codec" in before["codecs"] and "clip" in before["text_encoders"]
    for place in places(models):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text('{"model_type": "t5"}')
    after = lists()
    assert {kind: set(found) - set(after[kind]) for kind, found in before.items()} == {kind: set() for kind in before}


NAMELESS = [b"\xff\xfe", b"a\nb", b"a\x1b[31m", b"\xed\xa0\x80", b"a\x7f"]


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of Windows and macOS have no such names")
@pytest.mark.parametrize("name", NAMELESS)
def test_names_that_no_widget_can_show(models, name):
    before = lists()
    for place in places(models):
        copy_bundle(Path(os.fsdecode(os.path.join(os.fsencode(place), name))))
        for suffix in (b".json", b".safetensors", b".pt"):
            Path(os.fsdecode(os.path.join(os.fsencode(place), name + suffix))).write_bytes(b"{}")
    assert lists() == before


def unreadable(monkeypatch, *names: str) -> None:
    """Folders as the system keeps from who may not look into them (root may)."""
    scandir, stat = os.scandir, os.stat

    def refused(path) -> bool:
        return not isinstance(path, int) and not set(names).isdisjoint(Path(os.fsdecode(path)).parts)

    def scan(path="."):
        if refused(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def look(path, *args, **settings):
        if not isinstance(path, int) and refused(os.path.dirname(path)):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **settings)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(os, "stat", look)


def test_folders_that_may_not_be_read(models, monkeypatch):
    before = lists()
    for place in places(models):
        copy_bundle(place / "lost+found" / "model")
        (place / "lost+found" / "config.json").write_text("{}")
    unreadable(monkeypatch, "lost+found")
    after = lists()
    assert {name: found for name, found in after.items() if name != "loras"} == {
        name: found for name, found in before.items() if name != "loras"
    }


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="only root can become somebody else")
def test_folders_that_the_system_keeps_from_us(models):
    locked = models / "mgt" / "lost+found"
    copy_bundle(locked / "model")
    locked.chmod(0)
    for folder in (models, *models.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            os._exit(0 if list(host.bundles()) == [*BUILT_IN, "good"] else 1)
        finally:
            os._exit(2)
    status = os.waitpid(child, 0)[1]
    locked.chmod(0o755)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_link_to_a_folder_of_models_is_followed(models):
    models.joinpath("elsewhere", "deep").mkdir(parents=True)
    (models / "mgt" / "good").rename(models / "elsewhere" / "good")
    (models / "mgt" / "linked").symlink_to(models / "elsewhere")
    linked = {"linked/good": str(models / "mgt" / "linked" / "good")}
    assert host.bundles() == {name: name for name in BUILT_IN} | linked


def test_a_folder_of_very_many_files(models, monkeypatch, caplog):
    monkeypatch.setattr(listing, "FOLDER_ENTRIES", 50)
    many = models / "mgt" / "many"
    many.mkdir()
    for number in range(60):
        (many / f"{number}.safetensors").touch()
        (models / "mgt" / f"{number}.png").touch()  # which are none of those
    copy_bundle(many / "good")
    assert list(host.bundles()) == [*BUILT_IN, "good", "many/good"]
    assert "holds more than 50 folders or files" in caplog.text


def test_more_than_a_list_looks_at(models, monkeypatch, caplog):
    for number in range(30):
        (models / "mgt" / "many" / f"{number}").mkdir(parents=True)
    monkeypatch.setattr(listing, "ENTRIES", 25)
    with caplog.at_level(logging.WARNING):
        assert "demo" in host.bundles()
    assert len([record for record in caplog.records if "more than a list looks at" in record.message]) == 1


def test_what_there_was_no_time_for_comes_the_next_time(models, monkeypatch, caplog):
    torch.save({"a": torch.ones(1)}, models / "mgt" / "a.pt")
    copy_bundle(models / "mgt" / "other" / "good")
    (models / "mgt" / "good" / "transformer").rename(models / "mgt" / "alone")
    monkeypatch.setattr(listing, "SECONDS", -1.0)
    assert list(host.bundles()) == list(BUILT_IN) and "more than a list looks at" in caplog.text
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "folder_paths", FolderPaths(models, mgt=[models / "mgt"]))
    assert {"alone", "other/good"} <= set(host.bundles())


def test_whatever_goes_wrong_the_built_in_model_is_there(models, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(sys.modules[f"{ALIAS}.nodes.folders"], "is_hf_layout", broken)
    assert list(host.bundles()) == list(BUILT_IN) and host.text_encoders()
    assert "is not whole: nobody has thought of this" in caplog.text


def test_loras_that_are_gone_before_they_are_listed(models, monkeypatch):
    (models / "loras" / "a.safetensors").touch()
    (models / "loras" / "b.safetensors").symlink_to("nowhere")
    assert host.loras() == {"a.safetensors": str(models / "loras" / "a.safetensors")}
    monkeypatch.setattr(FolderPaths, "get_filename_list", lambda self, kind: [].pop())
    assert host.loras() == {}


def test_what_a_killed_process_was_replacing_is_listed_again(models):
    bundle = models / "mgt" / "good"
    bundle.rename(models / "mgt" / f".good{OLD}")
    assert host.bundles()["good"] == str(bundle)
    assert "good" in lists()["lenders"] and bundle.is_dir()


def test_what_was_replaced_is_not_listed_twice(models):
    shutil.copytree(models / "mgt" / "good", models / "mgt" / f".good{OLD}")
    assert sum("good" in name for name in host.bundles()) == 1
