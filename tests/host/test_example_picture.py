"""The editing workflows on an input folder as ComfyUI brings it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from run_workflow import to_api
from support.comfy_host import Host, Server, make_base, node_id, pixels, running_server
from support.pack import ROOT
from support.workflow_files import read, workflow

NAME = "mgt_example.png"
OURS = ROOT / "workflows" / NAME
EDITING = ("image_to_image", "inpaint", "outpaint")


@pytest.fixture(scope="module")
def stock(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the pictures that the host itself has, where it has any."""
    base = make_base(tmp_path_factory.mktemp("stock"))
    theirs = Path(host.folder) / "input" / "example.png"
    picture = Image.open(theirs) if theirs.is_file() else Image.effect_noise((300, 200), 90)
    picture.save(base / "input" / "example.png")
    with running_server(host, base) as server:
        yield server


@pytest.mark.parametrize("name", EDITING)
def test_it_edits_our_picture(stock: Server, name: str) -> None:
    assert {path.name for path in (stock.base / "input").iterdir()} >= {"example.png", NAME}
    assert (stock.base / "input" / NAME).read_bytes() == OURS.read_bytes()
    assert NAME in json.dumps(stock.object_info()["LoadImage"]), "it cannot be picked"
    prompt = to_api(read(workflow(name)), stock.object_info())
    load = node_id(prompt, "LoadImage")
    assert prompt[load]["inputs"]["image"] == NAME
    prompt["shown"] = {"class_type": "SaveImage", "inputs": {"images": [load, 0], "filename_prefix": "shown"}}
    run = stock.run(prompt)
    assert run.outcome == "execution_success", run.details
    (shown,) = [image for image in stock.images(run) if image.size == Image.open(OURS).size]
    np.testing.assert_array_equal(pixels(shown), np.asarray(Image.open(OURS).convert("RGB")))


def test_somebodys_file_of_that_name_stays(host: Host, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    place = base / "input" / NAME
    place.write_bytes(b"mine")
    with running_server(host, base) as server:
        assert "MGTSample" in server.object_info()
    assert place.read_bytes() == b"mine"
