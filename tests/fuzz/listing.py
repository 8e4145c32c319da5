"""A folder of models in which a good one lies among anything: the good one and the built-in one are always listed, and
every name can be shown."""

import atexit
import contextlib
import errno
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from support.bundles import copy_bundle, halton_bundle, openmuse_bundle
from support.fake_comfy import FakeFolderPaths
from support.odd_files import Draws, odd_json, odd_thing, odd_weights
from support.pack import ALIAS, load_pack

SHORT = 40
OUTCOMES = ("listed",)

load_pack()
host = sys.modules[f"{ALIAS}.nodes.host"]
choices = sys.modules[f"{ALIAS}.nodes.choices"]
READY = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, READY)
copy_bundle(READY / "mgt" / "good")
halton_bundle(READY / "mgt" / "files")
openmuse_bundle(READY / "mgt" / "muse")
shutil.copytree(READY / "mgt" / "good" / "vqvae", READY / "vae" / "codec")
shutil.copytree(READY / "mgt" / "good" / "text_encoder", READY / "text_encoders" / "clip")

KINDS = ("mgt", "diffusers", "diffusion_models", "checkpoints", "text_encoders", "clip", "clip_vision", "vae", "loras")
INSIDE = ("transformer", "vqvae", "text_encoder", "tokenizer", "presets", "self_guidance", "a", "b.safetensors")
INSIDE += ("models--a--b", "snapshots", "refs", "main")  # of caches
FILES = ("config.json", "model_index.json", "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".json", "")
STEMS = ("a", "model", "x" * 240, "é", "日本", "a b", ".hidden", "\udcff", "a\nb", "a\x1b[2J", "\udced\udca0\udc80")
FAULTS = (errno.EACCES, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ELOOP, errno.EPERM, errno.ENOENT)


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    inside = draws.random() < 0.5  # of ComfyUI
    models = folder / "models"
    paths = {kind: models / kind for kind in KINDS}
    for path in (*paths.values(), models / "mgt" / "presets", models / "mgt" / "self_guidance", folder / "presets"):
        path.mkdir(parents=True)
    shutil.copytree(READY, models, copy_function=os.link, dirs_exist_ok=True)
    good = draws.choice(["good", "between/good"])
    if good != "good":
        (models / "mgt" / "between").mkdir()
        (models / "mgt" / "good").rename(models / "mgt" / good)
    odd = set()
    for _ in range(draws.randrange(1, 12)):
        place = draws.choice([*paths.values(), models / "mgt" / "presets", models / "mgt" / "self_guidance"])
        odd.update(put_something(draws, place))
    host_paths = FakeFolderPaths(models, **{kind: [path] for kind, path in paths.items()})
    host_paths.get_filename_list = lambda kind: draws.choice([[], ["a.safetensors", "gone.pt", "a\nb.pt", "\udcff"]])
    host_paths.get_full_path = lambda kind, name: draws.choice([None, str(paths[kind] / name)])
    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.dict(sys.modules, {"folder_paths": host_paths} if inside else {}))
        changed.enter_context(mock.patch.object(host, "PACK", folder))
        changed.enter_context(
            mock.patch.object(host.folders, "as_far", lambda paths, root: paths)
        )  # which would hide faults
        if draws.random() < 0.4:
            system_says_no(draws, changed, odd)
        check(good)
    return "listed"


def check(good: str) -> None:
    bundles, lenders = host.bundles(), host.lenders("vqvae")
    codecs, encoders, branches, presets = host.codecs(), host.text_encoders(), host.branches(), host.presets()
    assert next(iter(bundles)) == "demo"
    whole, alone = {"demo", good}, {"muse", "files/ImageNet_tiny.pth"}
    for wanted, found in (
        (whole | alone, bundles),
        (whole, lenders),
        (whole, host.lenders("tokenizer")),
        (whole | {"codec", "muse/vqgan", "files/vq_ds16_c2i.pt"}, codecs),
        (whole | {"clip"}, encoders),
        (whole | alone | {host.BLANK}, branches),
    ):
        assert wanted <= found.keys(), f"{wanted - found.keys()} are not in {list(found)}"
    told = choices.models(), choices.left_out()
    assert whole | alone <= set(told[0])
    answers = {name: choices.answer("model", name) for name in told[0]}
    assert all(answers[name] is True for name in whole | alone)
    assert all(said is True or said.isprintable() for said in answers.values())
    for found in (bundles, lenders, codecs, encoders, branches, presets, host.loras(), *told):
        assert "\n" not in json.dumps(list(found), ensure_ascii=False).encode().decode()


def put_something(draws: Draws, place: Path) -> list[Path]:
    """Something odd in a folder, or a folder of odd things; the paths that are there now and were not before."""
    if draws.random() < 0.5:
        path = place / draws.choice([*FILES, *(draws.choice(STEMS) + draws.choice(SUFFIXES) for _ in range(9))])
        return [path] if put(draws, path) else []
    path = place
    for _ in range(draws.choice([1, 1, 2, 3, 30])):
        path = path / draws.choice([*INSIDE, draws.choice(STEMS)])
    if not os.path.realpath(path).startswith(os.path.realpath(place)):  # by way of a link made before
        return []
    with contextlib.suppress(OSError):
        path.mkdir(parents=True)
        names = draws.sample(FILES, draws.randrange(len(FILES))) + [draws.choice(INSIDE)]
        return [path / name for name in names if put(draws, path / name)]
    return []


def put(draws: Draws, path: Path) -> bool:
    if os.path.lexists(path):
        return False
    with contextlib.suppress(OSError):
        if draws.random() < 0.3:
            odd_thing(draws, path)
        else:
            path.write_bytes(odd_json(draws) if path.suffix == ".json" else odd_weights(draws, path.name))
        return True
    return False


def system_says_no(draws: Draws, changed: contextlib.ExitStack, odd: set[Path]) -> None:
    """When odd files are looked at, the system refuses, or they vanish or are others by then."""
    names = {os.fspath(path) for path in odd if not path.is_symlink() and draws.random() < 0.5}

    def refusing(function):
        def refused(path, *args, **settings):
            name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
            if name in names and draws.random() < 0.5:
                if draws.random() < 0.3:
                    raise OSError(draws.choice(FAULTS), "no", name)
                with contextlib.suppress(OSError):
                    os.unlink(name)
                    draws.choice([os.mkfifo, os.mkdir, lambda path: None])(name)
            return function(path, *args, **settings)

        return refused

    for name in ("stat", "scandir", "open"):
        changed.enter_context(mock.patch.object(os, name, refusing(getattr(os, name))))
