"""Every workflow file on a real ComfyUI server, at few steps."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote

import pytest
import soundfile
from PIL import Image

from run_workflow import to_api
from support.comfy_host import PACK, Server
from support.workflow_files import SAVED, WORKFLOWS, name, read


def test_workflows_are_offered_as_templates(server: Server) -> None:
    """Each with the thumbnail it has, where the template browser looks for it."""
    offered = server.json("/workflow_templates")[PACK]
    linked = {"text_to_image"}  # by its short name, which our front end leaves out
    assert set(offered) == {path.stem for path in WORKFLOWS} | linked
    for stem in (path.stem for path in WORKFLOWS if path.with_suffix(".jpg").exists()):
        with Image.open(io.BytesIO(server.request(f"/api/workflow_templates/{PACK}/{quote(stem)}.jpg"))) as thumbnail:
            assert thumbnail.format == "JPEG"
            thumbnail.load()


@pytest.mark.parametrize("path", [*WORKFLOWS, *SAVED], ids=name)
def test_workflow_runs_on_the_server(server: Server, path: Path) -> None:
    info = server.object_info()
    prompt = to_api(read(path), info)
    run = server.run(prompt)
    assert run.outcome == "execution_success", run.details
    outputs = server.json(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
    ends = {key for key, node in prompt.items() if info[node["class_type"]]["output_node"]}
    assert ends <= outputs.keys()
    assert all(outputs[key].keys() == {"text"} for key in outputs.keys() - ends), "reports of nodes in between"
    sounds = [soundfile.read(io.BytesIO(file))[0] for file in server.sounds(run)]
    assert (sounds or server.images(run)) and all(sound.any() for sound in sounds), "silence"
    for key, output in outputs.items():
        if prompt[key]["class_type"] == "MGTSamplingAnimation":
            assert output["animated"] == [True]
        if prompt[key]["class_type"] == "MGTDescribeModel":
            assert "MGT Noise Regularization" in output["text"][0]
