"""The runner's stand-ins for ComfyUI's nodes of sounds against those nodes, and sounds that come from a server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from run_workflow import main
from runner.files import read_document
from runner.images import Folders
from runner.local import execute, files_nodes
from support.comfy_host import Json, Server
from support.fake_nodes import fake_library, node, workflow
from support.prompts import api

CLASSES, SHOWN = files_nodes(Folders((), Path()))
SOUNDS = [name for name in CLASSES if "Audio" in name]
KINDS = {  # as the package soundfile names them, and by how many levels what comes of them differs
    "16.wav": ("PCM_16", 0),
    "24.wav": ("PCM_24", 0),
    "32.wav": ("PCM_32", 0),
    "floats.wav": ("FLOAT", 0),
    "16.flac": ("PCM_16", 0),
    "24.flac": ("PCM_24", 0),
    "a.ogg": ("VORBIS", 2),
    "a.mp3": (None, 2),
}
RATE = 16000


@pytest.fixture(scope="module")
def inputs(server: Server) -> Path:
    """The server's input folder with a sound of each kind, louder than 1 where floats hold it."""
    folder = server.base / "input"
    tones = np.sin(np.arange(6400)[:, None] * [0.07, 0.2]) * [0.9, 0.3]
    for name, (subtype, _) in KINDS.items():
        soundfile.write(folder / name, tones * (1.5 if subtype == "FLOAT" else 1), RATE, subtype=subtype)
    return folder


def on_server(server: Server, graph: Json, folder: Path) -> list[Path]:
    file = folder / "workflow.json"
    file.write_text(json.dumps(graph))
    assert main([str(file), "--server", server.address, "--output", str(folder / "out"), "--quiet"]) == 0
    return sorted(path for path in (folder / "out").rglob("*") if path.is_file())


def saved_here(name: str, inputs: Path, folder: Path) -> Path:
    graph = api(
        n1=("LoadAudio", {"audio": name}),
        n2=("SaveAudio", {"audio": ["1", 0], "filename_prefix": "audio/ComfyUI"}),
    )
    (path,) = execute(graph, fake_library([], Folders((inputs,), folder)))
    return path


def levels(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0].astype(int)


@pytest.mark.parametrize("name", SOUNDS)
def test_they_declare_the_same(server: Server, name: str) -> None:
    theirs, ours = server.object_info()[name], CLASSES[name].INPUT_TYPES()["required"]
    assert theirs["display_name"].removesuffix(" (DEPRECATED)").startswith(SHOWN[name])
    assert list(ours) == theirs["input_order"]["required"]
    assert theirs["output"] in (list(CLASSES[name].RETURN_TYPES), []), "older ones end with them"
    assert theirs["output_node"] == bool(getattr(CLASSES[name], "OUTPUT_NODE", False))
    for key, spec in ours.items():
        kind, *options = theirs["input"]["required"][key]
        options = options[0] if options else {}
        if kind == "COMBO":
            kind = options["options"]
        mine = spec[1] if len(spec) > 1 else {}
        assert isinstance(kind, list) == isinstance(spec[0], list) and (key == "audio" or kind == spec[0])
        assert mine.get("default") == options.get("default") and mine.get("audio_upload") == options.get("audio_upload")


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_of_the_server_is_the_one_made_here(server: Server, inputs: Path, tmp_path: Path, name: str) -> None:
    """Through Load Audio and Save Audio, there and here: the same levels, of the same rate."""
    graph = api(
        n1=("LoadAudio", {"audio": name}),
        n2=("SaveAudio", {"audio": ["1", 0], "filename_prefix": f"audio/{name}"}),
    )
    (theirs,) = on_server(server, graph, tmp_path)
    assert theirs.parent == tmp_path / "out" / "audio" and theirs.suffix == ".flac"
    ours = saved_here(name, inputs, tmp_path / "here")
    assert soundfile.info(theirs).subtype == soundfile.info(ours).subtype == "PCM_16"
    assert soundfile.info(theirs).samplerate == soundfile.info(ours).samplerate == RATE
    one, other = levels(theirs), levels(ours)
    if name == "a.ogg":  # of which hosts keep what its last packet holds behind the end
        one = one[: len(other)]
    assert one.shape == other.shape and np.abs(one - other).max() <= KINDS[name][1]


def test_a_sound_from_the_server_carries_its_workflow(server: Server, inputs: Path, tmp_path: Path) -> None:
    """Which is run from it once more, here."""
    graph = workflow(
        [
            node(1, "LoadAudio", ["16.wav", None, None], outputs=("AUDIO",)),
            node(2, "SaveAudio", ["carried"], [("audio", "AUDIO", 1)]),
        ],
        [(1, 1, 0, 2, 0, "AUDIO")],
    )
    (theirs,) = on_server(server, graph, tmp_path)
    assert read_document(theirs).ui == graph
    assert main([str(theirs), "--input", str(inputs), "--output", str(tmp_path / "here"), "--quiet"]) == 0
    (ours,) = (tmp_path / "here").iterdir()
    assert np.array_equal(levels(theirs), levels(ours)) and read_document(ours).ui == graph


def test_previews_and_mp3_come_down_too(server: Server, inputs: Path, tmp_path: Path) -> None:
    graph = api(
        n1=("LoadAudio", {"audio": "16.wav"}),
        n2=("PreviewAudio", {"audio": ["1", 0]}),
        n3=("SaveAudioMP3", {"audio": ["1", 0], "filename_prefix": "audio/loud", "quality": "128k"}),
    )
    mp3, preview = on_server(server, graph, tmp_path)
    assert mp3.parent.name == "audio" and mp3.suffix == ".mp3" and preview.parent.name == "temp"
    assert read_document(preview).api is not None
    assert np.array_equal(levels(preview), levels(saved_here("16.wav", inputs, tmp_path / "here")))


def test_what_we_save_is_read_there_with_its_workflow(server: Server, inputs: Path, tmp_path: Path) -> None:
    """A FLAC of ours in the server's input folder."""
    ours = saved_here("24.wav", inputs, tmp_path / "here")
    shutil.copy(ours, inputs / "ours.flac")
    graph = api(
        n1=("LoadAudio", {"audio": "ours.flac"}),
        n2=("SaveAudio", {"audio": ["1", 0], "filename_prefix": "audio/ours"}),
    )
    (theirs,) = on_server(server, graph, tmp_path)
    assert np.array_equal(levels(theirs), levels(ours))
