"""What the runner's Load Image and Load Image (as Mask) read is what ComfyUI's read, wherever that reads it as it is
meant; where not, it says here how."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from runner.images import CHANNELS, Folders, make_nodes
from support.comfy_host import Host
from support.picture_files import PLAIN, make

SCRIPT = Path(__file__).with_name("load_pictures.py")
LEVELS = 3.1 / 255  # by which colours of ComfyUIs that read pictures by FFmpeg differ, after its own conversions
MASKS = ("mask", "alpha")
# By FFmpeg, pages of a TIFF are one, and pictures that are mirrored are not turned.
OTHERWISE = {"pages.tiff"}
MIRRORED = {f"turned {number}.jpg" for number in (2, 4, 5, 7)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    make(folder, PLAIN)
    return folder


@pytest.fixture(scope="module")
def theirs(host: Host, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("read") / "read.npz"
    command = [host.python, str(SCRIPT), str(host.folder), str(folder), str(out)]
    ended = subprocess.run(command, cwd=host.folder, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    with np.load(out) as found:
        return dict(found)


def ours(folder: Path, name: str) -> dict[str, np.ndarray]:
    nodes, _ = make_nodes(Folders((folder,), folder))
    image, mask = nodes["LoadImage"]().load_image(name)
    channels = {channel: nodes["LoadImageMask"]().load_mask(name, channel)[0] for channel in CHANNELS}
    return {what: value.numpy() for what, value in {"image": image, "mask": mask, **channels}.items()}


@pytest.mark.parametrize("name", PLAIN)
def test_pictures_are_read_as_the_host_reads_them(folder: Path, theirs: dict[str, np.ndarray], name: str) -> None:
    by_pillow = bool(theirs["by pillow"])
    for what, own in ours(folder, name).items():
        wanted = theirs[f"{what}/{name}"]
        # As a mask, older ones take the first frame alone.
        if (by_pillow and what in CHANNELS) or (not by_pillow and name in OTHERWISE):
            own = own[: len(wanted)]
        assert len(own) == len(wanted), what
        if what in MASKS and not (wanted > LEVELS).any():  # an empty one is of the picture's size, or of 64 x 64
            assert not own.any(), what
        elif by_pillow:
            np.testing.assert_array_equal(own, wanted, what)
        elif name in MIRRORED:
            assert own.shape == wanted.shape, what
        else:
            np.testing.assert_allclose(own, wanted, rtol=0, atol=LEVELS, err_msg=what)


def test_what_the_host_lists_is_listed(folder: Path, theirs: dict[str, np.ndarray]) -> None:
    """Where its system knows the type of a name: those that do not know .webp or .avif do not list them."""
    assert set(theirs["listed"]) <= set(Folders((folder,), folder).pictures()) == set(PLAIN)
    assert len(theirs["listed"]) > len(PLAIN) / 2
