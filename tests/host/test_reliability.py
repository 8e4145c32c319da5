"""Faults, several servers, --multi-user, LoRA and models side by side on real ComfyUI servers."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mgt_core
from run_workflow import to_api
from support.comfy_host import Host, Json, Server, changed, make_base, node_id, pixels, running_server
from support.loras import low_rank_pairs, save_diffusers

STEPS = 4
QUEUED, SETTLED = 220, 20  # runs of the test for leaks, and those before the first reading
slow = pytest.mark.skipif(not os.environ.get("MGT_SLOW"), reason="takes minutes; set MGT_SLOW=1 to run it")


@pytest.fixture(scope="module")
def short(prompt: Json) -> Json:
    return changed(prompt, {"MGTSample": {"steps": STEPS, "seed": 21}})


def picture(server: Server, prompt: Json) -> np.ndarray:
    run = server.run(prompt)
    assert run.outcome == "execution_success", run.details
    (image,) = server.images(run)
    return pixels(image)


def spliced(prompt: Json, class_type: str, **inputs: object) -> Json:
    """The prompt with one more node between the model and the sampler."""
    model = prompt[node_id(prompt, "MGTSample")]["inputs"]["model"]
    node = {"class_type": class_type, "inputs": {"model": model, **inputs}}
    return changed(prompt, {"MGTSample": {"model": ["900", 0]}}) | {"900": node}


@pytest.mark.parametrize("kind", ["error", "memory", "interrupt"])
def test_faults_leave_the_next_run_as_it_was(server: Server, short: Json, kind: str) -> None:
    expected = picture(server, short)
    picture(server, changed(short, {"MGTSample": {"seed": 22}}))
    before = server.json("/mgt_tensors")
    for step in range(STEPS):
        run = server.run(spliced(short, "ProbeFault", step=step, kind=kind))
        wanted = "execution_interrupted" if kind == "interrupt" else "execution_error"
        assert run.outcome == wanted, run.details
        np.testing.assert_array_equal(picture(server, changed(short, {"MGTSample": {"seed": 21}})), expected)
        picture(server, changed(short, {"MGTSample": {"seed": 22}}))  # so that the host has nothing to answer from
    assert server.json("/mgt_tensors") == before


def test_lora(server: Server, short: Json) -> None:
    file = server.base / "models" / "loras" / "tiny.safetensors"
    save_diffusers(file, low_rank_pairs(mgt_core.load("demo", device="cpu").model.network), alpha=8)
    without = picture(server, changed(short, {"MGTSample": {"seed": 31}}))
    prompt = changed(short, {"MGTSample": {"seed": 31}})
    with_lora = picture(server, spliced(prompt, "MGTLoadLoRA", lora=file.name, strength=1.0))
    assert (with_lora != without).any()
    sizes = [size for size in server.json("/mgt_sizes") if size[0] in ("MeissonicTransformer", "ModuleList")]
    assert sorted(size[0] for size in sizes) == ["MeissonicTransformer", "ModuleList"]  # one base, and the LoRA
    assert all(counted == real for _, counted, real, _ in sizes)
    np.testing.assert_array_equal(
        picture(server, spliced(prompt, "MGTLoadLoRA", lora=file.name, strength=0.0)), without
    )
    assert "known" in (message := server.failure(spliced(prompt, "MGTLoadLoRA", lora="gone", strength=1.0))) or (
        "lora" in message
    )


def test_several_models_in_one_graph(server: Server, short: Json) -> None:
    """Two loaders, two runs, one queue: each picture is that of its model alone."""
    other = {"MGTLoadModel": {"dtype": "bfloat16"}}
    alone = [picture(server, changed(short, change)) for change in ({}, other)]
    second = {f"2{key}": node for key, node in json.loads(json.dumps(changed(short, other))).items()}
    for node in second.values():
        node["inputs"] = {k: [f"2{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    again = {"MGTSample": {"seed": 23}}
    picture(server, changed(short, again))
    run = server.run({**short, **second})
    assert run.outcome == "execution_success", run.details
    both = [pixels(image) for image in server.images(run)]
    assert len(both) == 2
    for expected in alone:
        assert any(np.array_equal(expected, image) for image in both)


@pytest.fixture(scope="module")
def second(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    host = Host.find()
    with running_server(host, make_base(tmp_path_factory.mktemp("second")), "--multi-user") as other:
        yield other


def test_two_servers_at_once(server: Server, second: Server, short: Json) -> None:
    """Each makes the picture, at the same time, and neither cancels nor empties the other."""
    prompts = [changed(short, {"MGTSample": {"seed": seed}}) for seed in (41, 42)]
    made: dict[tuple[str, int], np.ndarray] = {}

    def work(one: Server) -> None:
        for index, prompt in enumerate(prompts):
            made[one.address, index] = picture(one, prompt)

    threads = [threading.Thread(target=work, args=(one,)) for one in (server, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    for index in range(2):
        np.testing.assert_array_equal(made[server.address, index], made[second.address, index])
    second.free()
    np.testing.assert_array_equal(
        picture(server, changed(prompts[0], {"MGTEmptyTokens": {"batch_size": 1}})), made[server.address, 0]
    )


def test_users_keep_their_workflows(second: Server, workflow: Json) -> None:
    """With --multi-user: a workflow that one saves is theirs, opens again, and runs."""
    ann, bob = (second.json("/users", {"username": name}) for name in ("ann", "bob"))
    second.user = ann
    second.json("/userdata/workflows%2Fmine.json", workflow)
    kept = second.json("/userdata/workflows%2Fmine.json")
    assert kept == workflow
    prompt = changed(to_api(kept, second.object_info()), {"MGTSample": {"steps": 2}})
    assert np.ptp(picture(second, prompt)) > 0
    second.user = bob
    with pytest.raises(urllib.error.HTTPError, match="404"):
        second.json("/userdata/workflows%2Fmine.json")
    second.user = ""


@slow
def test_memory_is_flat_over_many_runs(server: Server, short: Json) -> None:
    def resident() -> int:
        lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    readings = {}
    for number in range(1, QUEUED + 1):
        picture(server, changed(short, {"MGTSample": {"seed": 1000 + number, "steps": 2}}))
        if number % SETTLED == 0:
            readings[number] = resident(), server.json("/mgt_tensors")
    print("kB resident and bytes of tensors by run:", readings)  # noqa: T201
    first, last = readings[SETTLED], readings[QUEUED]
    assert last[0] <= 1.02 * first[0], readings
    assert last[1] == first[1], readings
