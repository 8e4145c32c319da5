"""What people meet who pick a model that is not there, or something else in its place, and who change its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from support.bundles import copy_bundle, weights_file
from support.comfy_host import Json, Server, changed, node_id, pixels
from support.foreign import FOREIGN

XL = "sd_xl_base_1.0.safetensors"
LISTED = f"{XL} — not an MGT: Stable Diffusion XL"
TOLD = f"'{XL}' is Stable Diffusion XL, which is no MGT: it belongs in models/checkpoints"


@pytest.fixture
def models(server: Server) -> Iterator[Path]:
    """The folder of models of the server; what a test puts there is removed after it."""
    root = server.base / "models"
    (root / "checkpoints").mkdir(exist_ok=True)
    before = {path for kind in root.iterdir() for path in kind.iterdir()}
    yield root
    for path in {path for kind in root.iterdir() for path in kind.iterdir()} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def offered(server: Server) -> list[str]:
    return server.json("/object_info/MGTLoadModel")["MGTLoadModel"]["input"]["required"]["model"][0]


def refusal(server: Server, prompt: Json, **inputs: str) -> str:
    """The one thing that the server says of a prompt with these inputs of MGT Load Model."""
    answer = server.submit(changed(prompt, {"MGTLoadModel": inputs}))
    (error,) = answer["node_errors"][node_id(prompt, "MGTLoadModel")]["errors"]
    assert error["extra_info"]["input_name"] == "model"
    return error["details"]


def is_answered_from_cache(server: Server, prompt: Json) -> bool:
    """Whether it is, once: newer hosts drop results while memory is short."""
    return any(not server.run(prompt).progress for _ in range(4))


def test_a_checkpoint_in_the_wrong_place_is_listed_last_and_refused(server: Server, prompt: Json, models: Path) -> None:
    usable = offered(server)
    FOREIGN[XL][0](models / "mgt" / XL)
    assert offered(server) == [*usable, LISTED]
    for value in (LISTED, XL):
        assert refusal(server, prompt, model=value).startswith(f"model - {TOLD}; wanted is ")


def test_a_checkpoint_in_its_own_place_is_refused_but_not_listed(server: Server, prompt: Json, models: Path) -> None:
    usable = offered(server)
    FOREIGN[XL][0](models / "checkpoints" / XL)
    assert offered(server) == usable
    assert refusal(server, prompt, model=XL).startswith(f"model - {TOLD}")


def test_a_published_model_that_is_not_there_says_what_to_get(server: Server, prompt: Json) -> None:
    told = "'Monetico' is not there: download Collov-Labs/Monetico (the folders transformer, vqvae, text_encoder, "
    told += f"tokenizer, scheduler) into {server.base / 'models' / 'mgt' / 'Monetico'}"
    assert refusal(server, prompt, model="Monetico") == f"model - {told}"
    # Other inputs are the node's to check: of all that VALIDATE_INPUTS names the host would mark each.
    for name in ("text_encoder", "codec", "base"):
        assert server.failure(changed(prompt, {"MGTLoadModel": {name: "Monetico"}})) == f"{name} {told}"


def test_a_changed_checkpoint_is_read_again(server: Server, prompt: Json, models: Path) -> None:
    folder = copy_bundle(models / "mgt" / "changing")
    changing = {"MGTLoadModel": {"model": "changing"}, "MGTSample": {"seed": 7, "steps": 2}}
    first = server.run(changed(prompt, changing))
    assert first.outcome == "execution_success" and first.progress, first.details
    assert is_answered_from_cache(server, changed(prompt, changing))

    file = weights_file(folder / "vqvae")
    save_file({name: -value for name, value in load_file(file).items()}, folder / "new.safetensors")
    (folder / "new.safetensors").replace(file)
    again = server.run(changed(prompt, changing))
    assert again.outcome == "execution_success" and again.progress, again.details
    assert np.any(pixels(server.images(again)[0]) != pixels(server.images(first)[0]))
    assert is_answered_from_cache(server, changed(prompt, changing))
    assert str(models) not in str(server.json(f"/history/{again.prompt_id}")[again.prompt_id]["prompt"])
