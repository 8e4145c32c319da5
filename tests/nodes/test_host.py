"""Memory: the host places the networks."""

import gc
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch

import mgt_core
from mgt_core.backbones.meissonic.network import MeissonicTransformer
from mgt_core.loading.layouts import BUILT_IN
from mgt_core.quantization import pipeline
from mgt_core.quantization.layers import packed_layers
from support.fake_comfy import FakeComfy, FakeFolderPaths
from support.node_runs import run
from support.pack import ALIAS
from support.quantized import RUN

host = sys.modules[f"{ALIAS}.nodes.host"]


def test_networks_are_placed_by_the_host(monkeypatch, golden, tmp_path):
    comfy = FakeComfy(monkeypatch)
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, mgt=[golden / "meissonic"]))
    model, text, codec = run("MGTLoadModel", model=list(host.bundles())[len(BUILT_IN)], dtype="auto")
    assert comfy.loads == []  # nothing is moved before it is used
    assert model.dtype == torch.float32
    names = [type(part.network).__name__ for part in (model, text, codec)]

    positive = run("MGTTextEncode", text="", text_encoder=text)[0]
    assert comfy.loads == [[names[1]]]
    unit = model.pixels_per_token * model.grid_multiple
    tokens = run("MGTEmptyTokens", model=model, width=unit, height=unit)[0]
    comfy.loads.clear()
    parts = {"schedule": run("MGTMaskSchedule")[0], "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0]}
    filled = run("MGTSample", model=model, positive=positive, negative=positive, tokens=tokens, **parts, steps=2)[0]
    assert comfy.loads[0] == [names[0]]
    # A preview in the middle of the run keeps the network of the run where it is.
    assert [names[2], names[0]] in comfy.loads[1:]
    assert [names[2]] not in comfy.loads
    comfy.loads.clear()
    run("MGTDecode", tokens=filled, codec=codec)
    assert set(map(tuple, comfy.loads)) == {(names[2],)}


def test_placement_finishes_a_load_that_the_host_left_undone(monkeypatch):
    FakeComfy(monkeypatch)
    network = torch.nn.Linear(2, 2)
    placement = host.ManagedPlacement(network, torch.device("meta"), torch.device("cpu"))
    assert placement.acquire() == torch.device("meta")
    assert network.weight.device.type == "meta"
    assert placement._patcher.model.model_loaded_weight_memory == 24  # as the host counts it


def test_weights_live_as_long_as_a_handle(monkeypatch):
    FakeComfy(monkeypatch)
    network = torch.nn.Linear(2, 2)
    alive = weakref.ref(network)
    placement = host.ManagedPlacement(network, torch.device("cpu"), torch.device("cpu"))
    beside = placement.beside(host.ManagedPlacement(torch.nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu")))
    del network, placement
    gc.collect()
    assert alive() is not None
    del beside
    gc.collect()
    assert alive() is None


def test_memory_is_what_the_host_says_but_where_it_does_not_know(monkeypatch):
    memory, cuda, cpu = sys.modules[f"{ALIAS}.nodes.memory"], torch.device("cuda"), torch.device("cpu")
    loaded = [SimpleNamespace(device=device, model_loaded_memory=lambda: 5) for device in (cuda, cpu)]
    telling = {"get_total_memory": lambda device: 100, "get_free_memory": lambda device: 20}
    management = SimpleNamespace(**telling, current_loaded_models=loaded)
    room = memory.room_on(management, cuda)
    assert (room.total, room.free) == (100, 25)
    # It says 1 GB of every DirectML device, on which more was always computed.
    room = memory.room_on(SimpleNamespace(**telling, directml_enabled=True), torch.device("privateuseone"))
    assert (room.total, room.free) == (None, None)
    # Of main memory the system says more: what a container may have, and swap. On some it says nothing.
    for own, expected in ((memory.Room(cpu, 70, 60), (70, 60)), (memory.Room(cpu, 70), (100, 20))):
        monkeypatch.setattr(memory, "main_memory", lambda device, own=own: own)
        room = memory.room_on(management, cpu)
        assert (room.total, room.free) == expected


def test_a_network_that_was_packed_as_it_was_read_is_placed_once(monkeypatch):
    """Of 8 billion weights there is no room for a copy."""
    FakeComfy(monkeypatch)
    monkeypatch.setattr(host, "place", lambda *_: pytest.fail("the network was copied"))
    pipe = host.load("demo", "float32", "w8a16")
    assert pipe.model.quantization == mgt_core.W8A16() and isinstance(pipe.model.placement, host.ManagedPlacement)
    assert pipe.model.placement._patcher.model.network is pipe.model.network


def test_packed_weights_are_calibrated_where_they_were_placed(monkeypatch, golden, tmp_path):
    """What families do whose networks are too large to be read in floats."""
    comfy = FakeComfy(monkeypatch)
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, mgt=[golden / "meissonic"]))
    monkeypatch.setattr(host, "place", lambda *_: pytest.fail("the network was copied"))
    monkeypatch.setattr(pipeline, "LARGE_RUN", RUN)
    monkeypatch.setattr(MeissonicTransformer, "packed_first", True)
    pipe = host.load(list(host.bundles())[len(BUILT_IN)], "float32", "w4a8")
    network = pipe.model.network
    kinds = [layer.settings.activations for layer in packed_layers(network).values()]
    assert pipe.model.quantization == mgt_core.W4A8() and kinds.count("static") == round(len(kinds) / 3)
    assert pipe.model.placement._patcher.model.network is network
    assert comfy.updates[-1][1] == comfy.updates[-1][2] and [type(network).__name__] in comfy.loads
