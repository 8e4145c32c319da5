"""Errors and interrupts at every step of every technique: the next run is as if nothing had been, and nothing stays.

Each place where a run can break is broken once: every evaluation of the network, every draw of random numbers,
every callback. Some 300 broken runs, each followed by a whole one.
"""

import gc
import itertools
import os
import sys
import weakref
from contextlib import contextmanager

import pytest
import torch

import mgt_core
from mgt_core.adapters.lora import LoRA, LowRank
from mgt_core.sampling import run as sampling
from mgt_core.sampling.draws import GeneratorDraws
from support.families import ATTACHED, EXACT, REFUSED, SAMPLED, STARTS
from support.golden import bundles, pipeline
from support.loras import low_rank_pairs
from support.node_runs import run as run_node
from support.pack import ALIAS, load_pack

load_pack()
host = sys.modules[f"{ALIAS}.nodes.host"]
STEPS = 4


class Interrupted(Exception):
    """As ComfyUI's own exception for a cancelled run, an ordinary exception."""


FAULTS = [RuntimeError, KeyboardInterrupt, Interrupted, torch.OutOfMemoryError, MemoryError]
SAMPLERS = {name: options for name, options in SAMPLED.items() if not name.startswith("schedule ")}
# What is compiled calls no hooks, which the faults come from.
POSSIBLE = {name: attach for name, attach in ATTACHED.items() if ("meissonic", name) not in REFUSED}
TECHNIQUES = [*(name for name in POSSIBLE if name not in EXACT), *SAMPLERS, *STARTS, "lora"]
counted = {"runs": 0}


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


@pytest.fixture(scope="module")
def runner(pipe):
    """Runs a technique: name -> tokens."""
    positive, negative = pipe.text.encode(["a cat"]), pipe.text.encode([""])
    side = 4 * pipe.codec.scale
    image = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(0))
    lora = LoRA("a", {name: LowRank(*pair) for name, pair in low_rank_pairs(pipe.model.network).items()})
    models = {name: attach(pipe.model) for name, attach in POSSIBLE.items()} | {"lora": pipe.model.with_lora(lora)}

    def run(technique, callback=None):
        model = models.get(technique, pipe.model)
        state = mgt_core.empty_tokens(pipe, side, side)
        if technique in STARTS:
            state = STARTS[technique](pipe, image, 0)
        chosen = {"cfg": 2.0, **SAMPLERS.get(technique, {})}
        return mgt_core.sample(model, state, positive, negative, steps=STEPS, callback=callback, **chosen).tokens

    return run


class Trap:
    """Counts how often each place is passed, and raises at one of them."""

    def __init__(self):
        self.passed = dict.fromkeys(("network", "draw", "callback"), 0)
        self.at, self.fault = None, None

    def __call__(self, place, *_):
        self.passed[place] += 1
        if self.at == (place, self.passed[place]):
            raise self.fault("set by the test")


@contextmanager
def trapped(pipe):
    """A Trap at the network's first layer and at the random numbers, and weak references to the runs that begin."""
    trap, runs = Trap(), []
    uniform, begin = GeneratorDraws.uniform, sampling.Run.__init__

    def drawn(self, device):
        trap("draw")
        return uniform(self, device)

    def begun(self, *args, **settings):
        runs.append(weakref.ref(self))
        begin(self, *args, **settings)

    handle = pipe.model.network.embed.embeddings.register_forward_pre_hook(lambda *_: trap("network"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeneratorDraws, "uniform", drawn)
        patch.setattr(sampling.Run, "__init__", begun)
        yield trap, runs
    handle.remove()


def living_bytes():
    """Of the tensors made since the collector was told to overlook what there was, which also makes it quick."""
    gc.collect()
    return sum(thing.untyped_storage().nbytes() for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


@pytest.fixture(autouse=True)
def only_what_is_new(runner):
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_place_that_can_break(pipe, runner, technique):
    expected = runner(technique)
    kinds = itertools.cycle(FAULTS)
    with trapped(pipe) as (trap, runs):
        runner(technique, lambda step: trap("callback"))
        places = [(place, n) for place, times in trap.passed.items() for n in range(1, times + 1)]
        # A place at each step: techniques of many evaluations a step take their share of the time.
        every = max(1, len(places) // 10)
        before = living_bytes()
        for at in places[::every]:
            trap.passed = dict.fromkeys(trap.passed, 0)
            trap.at, trap.fault = at, next(kinds)
            with pytest.raises(trap.fault, match="set by the test"):
                runner(technique, lambda step: trap("callback"))
            trap.at = None
            assert torch.equal(runner(technique), expected), at
            counted["runs"] += 1
        assert {place for place, _ in places} == trap.passed.keys()
        assert living_bytes() == before
        assert runs and not any(run() for run in runs)


def test_so_many_runs_were_broken():
    if counted["runs"] == 0 or "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("counts what the tests above have done in this process")
    assert counted["runs"] >= 300, counted


def test_nodes_break_and_go_on(pipe):
    """Through the nodes, at every report of progress."""
    side = 4 * pipe.codec.scale
    model, text, codec = pipe.model, pipe.text, pipe.codec
    parts = {
        "positive": run_node("MGTTextEncode", text="a cat", text_encoder=text)[0],
        "negative": run_node("MGTTextEncode", text="", text_encoder=text)[0],
        "tokens": run_node("MGTEmptyTokens", model=model, width=side, height=side)[0],
        "schedule": run_node("MGTMaskSchedule")[0],
        "sampler": run_node("MGTSamplerMaskedZ")[0],
        "steps": STEPS,
    }
    patched = run_node("MGTDifferentialSampling", model=model)[0]

    def sampled():
        return run_node("MGTSample", model=patched, **parts)[0]

    expected = sampled()
    picture = run_node("MGTDecode", tokens=expected, codec=codec)[0]
    for fault, at in itertools.product(FAULTS, range(1, STEPS + 1)):

        def report(done, total, node_id, fault=fault, at=at):
            if done == at:
                raise fault("set by the test")

        with pytest.raises(fault, match="set by the test"), host.progress_to(report):
            sampled()
        assert torch.equal(sampled().tokens, expected.tokens)
    for part, name, inputs in (
        (text.network, "MGTTextEncode", {"text": "a cat", "text_encoder": text}),
        (codec.network.decoder.conv_in, "MGTDecode", {"tokens": expected, "codec": codec}),
    ):
        for fault in FAULTS:
            if (name, fault) == ("MGTDecode", torch.OutOfMemoryError):
                continue  # it decodes in tiles then

            def fail(*_, fault=fault):
                raise fault("set by the test")

            handle = part.register_forward_pre_hook(fail)
            with pytest.raises(fault, match="set by the test"):
                run_node(name, **inputs)
            handle.remove()
    assert torch.equal(run_node("MGTDecode", tokens=sampled(), codec=codec)[0], picture)
    again = run_node("MGTTextEncode", text="a cat", text_encoder=text)[0]
    assert torch.equal(again[0][0], parts["positive"][0][0])
