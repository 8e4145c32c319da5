"""What the step loop asks of the device: no waits inside it, no table of logits larger than needed."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

import mgt_core
from mgt_core.patches import token_merging as merging
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.samplers.base import Sampler
from mgt_core.sampling import draws, finite, memory
from mgt_core.sampling import run as sampling
from support.device import agree
from support.golden import bundles, pipeline

PIPE = pipeline(bundles()[0])
GRID, BATCH, STEPS = (6, 8), 2, 5
CELLS, CODES = GRID[0] * GRID[1], PIPE.model.codebook_size
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero", "item"}
MODIFIERS = {
    "none": (),
    "by rows": (mgt_core.EntropyTemperature(), mgt_core.TopKTopP(k=40, p=0.9)),
    "whole": (mgt_core.NoiseRegularization(), mgt_core.DifferentialSampling(positions="masked")),
}


@dataclass
class Ops(TorchDispatchMode):
    """Every operation's name, and the largest float32 or float64 tensor that came out of one."""

    def __post_init__(self):
        super().__init__()
        self.names, self.largest = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        if isinstance(out, torch.Tensor) and out.dtype in (torch.float32, torch.float64):
            self.largest = max(self.largest, out.numel())
        if func.overloadpacket.__name__ == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            self.names.append("nonzero")
        return out


class Event:
    """A CUDA event that has not come to pass until it is waited for."""

    waited = False

    def query(self):
        return self.waited

    def synchronize(self):
        self.waited = True


@pytest.fixture
def late(monkeypatch):
    """The CPU as a device whose answers arrive late."""

    class Late(finite.FiniteWatch):
        def __init__(self, device):
            super().__init__(torch.device("cuda"))

    monkeypatch.setattr(sampling, "FiniteWatch", Late)
    monkeypatch.setattr(finite, "arriving", lambda flag: (flag.clone(), Event()))


def conditions():
    widths, generator = PIPE.model.network.condition_widths, torch.Generator().manual_seed(0)
    return (
        mgt_core.Condition(
            hidden=torch.randn(1, 4, widths["hidden"], generator=generator),
            pooled=torch.randn(1, widths["pooled"], generator=generator),
        )
        for _ in range(2)
    )


def run(model=PIPE.model, modifiers=(), **settings):
    for modifier in modifiers:
        model = model.with_modifier(modifier)
    state = mgt_core.empty_state(BATCH, GRID, model.mask_id, model.codebook_size)
    return mgt_core.sample(model, state, *conditions(), **{"steps": STEPS, "cfg": 3.0, "seed": 5, **settings})


def ops_of_the_loop(monkeypatch, **settings) -> Ops:
    ops, kind = Ops(), mgt_core.SAMPLERS.get(settings.get("sampler", "maskgit"))
    loop = kind.loop

    def watched(self: Sampler, run: sampling.Run) -> None:
        with ops:
            loop(self, run)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "loop", watched)
        run(**settings)
    return ops


# Those whose candidates make runs of their own; what these ask of a device tests/device counts.
OF_CANDIDATES = {"best_of", "particles"}
ASKING = {"magnet"}  # which asks once a step, as is counted there


@pytest.mark.parametrize("modifiers", MODIFIERS)
@pytest.mark.parametrize("sampler", [n for n in mgt_core.list_samplers() if n not in OF_CANDIDATES | ASKING])
def test_no_wait_inside_the_loop(sampler, modifiers, late, monkeypatch):
    ops = ops_of_the_loop(monkeypatch, sampler=sampler, modifiers=MODIFIERS[modifiers])
    assert len(ops.names) > 100 and not WAITS & set(ops.names)


SAVINGS = {
    "merging": lambda model: model.with_token_merging(0.5),
    "cache": lambda model: model.with_token_cache(0.5, every=2),
    "guidance reuse": lambda model: model.with_guidance_reuse(2),
    "skipping": lambda model: model.with_step_skipping(2),
    "all": lambda model: model.with_token_merging(0.5).with_token_cache(0.5, every=2).with_guidance_reuse(2),
}


@pytest.mark.parametrize("saving", SAVINGS)
@pytest.mark.parametrize("sampler", ["maskgit", "masked_zsampling"])
def test_no_wait_where_work_is_saved(sampler, saving, late, monkeypatch):
    sides, made = merging.sides, []

    def unwatched(is_destination):
        with _disable_current_modes():  # tables of the CPU, wherever the network computes
            made.append(sides(is_destination))
        return made[-1]

    monkeypatch.setattr(merging, "sides", unwatched)
    ops = ops_of_the_loop(monkeypatch, sampler=sampler, model=SAVINGS[saving](PIPE.model))
    assert len(ops.names) > 100 and not WAITS & set(ops.names)
    assert bool(made) == (saving in ("merging", "all"))


def test_a_wait_would_be_seen(monkeypatch):
    """Without late answers every step asks for its own: the test above can fail."""
    ops = ops_of_the_loop(monkeypatch)
    assert sum(ops.names.count(name) for name in WAITS) >= STEPS


def test_a_late_nan_still_names_step_and_layer(late, monkeypatch):
    network, calls = PIPE.model.network, []
    layer = network.project_from_hidden

    def broken(module, inputs, output):
        calls.append(1)
        return output * float("nan") if len(calls) > 2 else output

    handle = layer.register_forward_hook(broken)
    try:
        with pytest.raises(mgt_core.MGTError, match="step 3 of 5 are not finite.*the output of project_from_hidden"):
            run()
    finally:
        handle.remove()


@pytest.mark.parametrize("modifiers", ["none", "by rows"])
@pytest.mark.parametrize("sampler", ["maskgit", "masked_zsampling"])
@pytest.mark.parametrize("cfg", [0.0, 1.0, 3.0])
def test_parts_draw_what_the_whole_table_draws(modifiers, sampler, cfg, monkeypatch):
    chosen = {"modifiers": MODIFIERS[modifiers], "sampler": sampler, "cfg": cfg}
    with monkeypatch.context() as patch:
        patch.setattr(draws, "ROWS", 10**9)
        whole = run(**chosen)
    for rows in (2, 14):
        monkeypatch.setattr(draws, "ROWS", rows)
        parts = run(**chosen)
        assert agree(parts.tokens, whole.tokens) and agree(parts.revealed_at, whole.revealed_at)
        torch.testing.assert_close(parts.confidence, whole.confidence, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", ["maskgit", "masked_zsampling"])
@pytest.mark.parametrize("modifiers", MODIFIERS)
def test_no_table_of_all_rows_unless_needed(modifiers, sampler, monkeypatch):
    rows = 8
    monkeypatch.setattr(draws, "ROWS", rows)
    head, wide = PIPE.model.network.head, 10_000
    # Codes that are never drawn, so that rows of logits are the largest thing there is.
    monkeypatch.setattr(PIPE.model.network, "head", lambda x: F.pad(head(x), (0, wide - CODES), value=-1e4))
    ops = ops_of_the_loop(monkeypatch, modifiers=MODIFIERS[modifiers], sampler=sampler)
    if modifiers == "whole":
        assert ops.largest >= BATCH * CELLS * wide
    else:
        assert ops.largest <= 2 * rows * wide  # both conditions of a part


class Peak(TorchDispatchMode):
    """The most bytes that the tensors made under it held at once."""

    def __init__(self):
        super().__init__()
        self.live, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.live = {key: held for key, held in self.live.items() if not held[0].expired()}
        for storage in [value.untyped_storage() for value in tree_leaves(out) if isinstance(value, torch.Tensor)]:
            self.live.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return out


@pytest.mark.parametrize("rows", [8, 1024])
@pytest.mark.parametrize("modifiers", MODIFIERS)
@pytest.mark.parametrize("sampler", ["maskgit", "momentum", "masked_zsampling"])
def test_memory_asked_for_is_what_a_run_takes(sampler, modifiers, rows, monkeypatch):
    """With a codebook so large that tables of logits are what counts."""
    network, wide, asked, peak = PIPE.model.network, 10_000, [], Peak()
    head, estimate = network.head, memory.activation_bytes
    monkeypatch.setattr(draws, "ROWS", rows)
    monkeypatch.setattr(type(network), "codebook_size", property(lambda self: wide))
    monkeypatch.setattr(network, "head", lambda x: F.pad(head(x), (0, wide - CODES), value=-1e4))
    monkeypatch.setattr(memory, "activation_bytes", lambda *args: asked.append(estimate(*args)) or asked[-1])
    with peak:
        run(modifiers=MODIFIERS[modifiers], sampler=sampler, steps=3)
    assert 0.9 * peak.most <= asked[0] <= 2.5 * peak.most


def test_a_nan_is_traced_through_packed_weights_and_compiled_code():
    """Some packed types have no test for finite numbers, and compiled code calls no hooks."""
    packed = mgt_core.quantize(PIPE.model, "fp8", *conditions(), CalibrationRun(steps=1, states=1, grid=(2, 2))).model
    for model in (packed, PIPE.model.with_compile(backend="eager")):
        run(model, steps=1)
        layer = model.network.project_from_hidden_norm
        before = layer.weight.detach().clone()
        try:
            with torch.no_grad():
                layer.weight.fill_(3e38)
            with pytest.raises(mgt_core.MGTError, match="they first appear in the output of project_from_hidden_norm"):
                run(model, steps=1)
        finally:
            with torch.no_grad():
                layer.weight.copy_(before)


def test_modifiers_act_before_a_number_is_drawn(monkeypatch):
    """Where they see the whole table: they may draw numbers of their own."""
    told, uniform = [], draws.GeneratorDraws.uniform

    @dataclass(frozen=True)
    class Told(mgt_core.Modifier):
        neutral = {}

        def begin(self):
            return lambda logits, step: told.append("modified") or logits

    monkeypatch.setattr(draws.GeneratorDraws, "uniform", lambda *args: told.append("drawn") or uniform(*args))
    run(modifiers=(Told(),), steps=2)
    assert told == ["modified", "drawn", "drawn", "modified", "drawn"]  # the second for the confidence
