"""What of a tree of recorded numbers is kept here."""

import re

import torch
from safetensors.torch import load, save_file

from release.make_golden import FAMILIES, left_out, trimmed
from support.golden import OWN


def test_nothing_is_kept_that_no_test_reads():
    """Of what is here nothing would be left out, were it copied anew."""
    here = {path.relative_to(OWN).as_posix(): path for family in FAMILIES for path in (OWN / family).rglob("*.*")}
    kept = dict(trimmed(OWN))
    assert {name for name in here if not name.endswith("README.md")} == kept.keys()
    assert [name for name, content in kept.items() if content != here[name].read_bytes()] == []


def test_every_recording_that_the_page_lists_is_here():
    """Golden tests have as many cases as there are files: none goes without the page saying so."""
    rows = re.findall(
        r"^\| `(\w+)/([\w/]+)` \| (.+) \|$", (OWN / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    listed = {f"{top}/{folder}/{name}" for top, folder, names in rows for name in re.findall(r"`(\S+)`", names)}
    files = {path.relative_to(OWN) for top, *_ in rows for path in (OWN / top).rglob("*.safetensors")}
    weights = {path for path in files if path.stem.endswith("model") or path.parts[-2:] == ("vq", "vq.safetensors")}
    assert listed == {path.with_suffix("").as_posix() for path in files - weights}


def test_numbers_are_kept_as_they_are(tmp_path):
    held = {"exponential": torch.rand(2, 3), "image": torch.rand(2, 2), "labels": torch.tensor([1, 2])}
    file = tmp_path / "maskgit" / "halton_tiny" / "trace_halton_cfg.safetensors"
    file.parent.mkdir(parents=True)
    save_file(held, file)
    (file.parent / "model.pth").write_bytes(b"kept")
    (tmp_path / "maskgit" / "manifest.json").write_bytes(b"not kept")
    kept = dict(trimmed(tmp_path))
    assert kept.pop("maskgit/halton_tiny/model.pth") == b"kept"
    ((_, content),) = kept.items()
    tensors = load(content)
    assert tensors.keys() == {"exponential", "labels"}
    assert all(torch.equal(value, held[name]) and value.dtype == held[name].dtype for name, value in tensors.items())


def test_the_way_back_keeps_its_draws():
    name = "meissonic/tiny/traces/zsample_any.safetensors"
    assert "step*.inv.probs" in left_out(name) and "step*.inv.exp_noise" not in left_out(name)
    assert left_out("meissonic/tiny/transformer/diffusion_pytorch_model.safetensors") == []
