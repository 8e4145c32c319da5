"""Rows, counts and weights of the device bench."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import mgt_core
from bench.device import budget, counts, original
from bench.device.aims import over_original
from bench.device.parts import AGAIN, PARTS, visits
from bench.device.rows import COMPILE, GRAPHS, DeviceRow, device_rows
from bench.device.session import Session, quantized
from bench.device.tries import LeftOut
from bench.device.weights import random_pipeline
from bench.speed.bundle import TINY
from bench.speed.rows import APPROXIMATE, ROWS, TECHNIQUES
from bench.speed.runs import run
from bench.support import support

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipe():
    return random_pipeline(TINY, torch.float32, CPU)


def test_weights_made_in_place_are_spread_as_those_that_are_written(pipe):
    condition = pipe.text.encode("a cat", size=pipe.size)
    state = mgt_core.empty_tokens(pipe, *pipe.size)
    assert 0.2 < pipe.model.logits(state.tokens, condition, 7).std() < 5
    assert 0.2 < condition.hidden.std() < 10
    assert pipe.codec.decode(mgt_core.sample(pipe.model, state, condition, condition, steps=2, seed=0)).std() > 0.01
    again = random_pipeline(TINY, torch.float32, CPU)
    pairs = zip(pipe.model.network.parameters(), again.model.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    half = random_pipeline(TINY, torch.bfloat16, CPU)
    assert half.model.dtype == torch.bfloat16 and next(half.codec.network.parameters()).dtype == torch.float32


def test_every_technique_and_packing_has_a_row():
    rows = [row for part in device_rows() for row in part]
    assert len({row.name for row in rows}) == len(rows)
    assert {part for row in rows for part in row.parts} >= {name for name in TECHNIQUES if name != GRAPHS}
    assert {row.scheme for row in rows} == {None, *mgt_core.list_quantizations()}
    assert [row.name for row in rows[:4]] == ["exact", "exact, graphs", "together", "together, graphs"]
    assert {row.name for row in rows if row.exact} >= {"exact", "exact, graphs", "every_cell"}
    assert not any(row.exact for row in rows if row.scheme or row.approximate or COMPILE in row.parts)


def test_rows_have_parts_of_their_own(pipe):
    attached = DeviceRow(APPROXIMATE).attach(pipe.model)
    kinds = {type(TECHNIQUES[name].part) for name in APPROXIMATE}
    assert {type(patch) for patch in attached.patches} == kinds
    assert not any(patch is TECHNIQUES[name].part for patch in attached.patches for name in APPROXIMATE)
    assert DeviceRow(("no such patch",)).unknown() == ["no such patch"]


def test_a_step_is_the_difference_of_two_runs(pipe):
    """Its arithmetic grows with the batch; what is prepared once is in none of it."""
    session = Session(CPU, tiny=True)
    small, large = (counts.arithmetic(counts.sampling(pipe, session.settings, n), 2) for n in (1, 3))
    assert large["flop_a_step"] == pytest.approx(3 * small["flop_a_step"])
    every, none = replace(TECHNIQUES["token_cache"].part, every=6), DeviceRow()
    assert counts.period(none) == 2 and counts.period(DeviceRow(APPROXIMATE)) == 8 and every.every == 6
    assert counts.a_step(lambda steps: counts.Counter(x=5 + 3 * steps), 4) == {"x_a_step": 3}


def entry(key, count, cuda, mark=False):
    kind = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    return SimpleNamespace(key=key, count=count, device_type=kind, is_user_annotation=mark)


def test_what_the_profiler_saw_is_told_apart():
    found = counts.told(
        [
            entry("ampere_gemm", 5, cuda=True),
            entry("Memcpy HtoD (Pinned -> Device)", 2, cuda=True),
            entry("Memset (Device)", 1, cuda=True),
            entry("a mark", 9, cuda=True, mark=True),
            entry("cudaLaunchKernel", 4, cuda=False),
            entry("cuLaunchKernelEx", 1, cuda=False),
            entry("cudaGraphLaunch", 1, cuda=False),
            entry("cudaStreamSynchronize", 7, cuda=False),
        ]
    )
    assert found == {"kernels": 5, "copies": 3, "launches": 6}


def test_eight_gigabytes_are_left_and_given_back(monkeypatch):
    told, gib = [], 2**30
    pretended = {
        "empty_cache": lambda: None,
        "mem_get_info": lambda device: (70 * gib, 80 * gib),
        "memory_reserved": lambda device: 9 * gib,  # and 1 is the driver's
        "set_per_process_memory_fraction": lambda share, device: told.append(share),
    }
    for name, function in pretended.items():
        monkeypatch.setattr(torch.cuda, name, function)
    session = Session(torch.device("cuda", 0), tiny=True)
    with pytest.raises(ZeroDivisionError), budget.limited(session) as limit:
        assert limit == 7 * gib and told == [7 / 80]
        raise ZeroDivisionError
    assert told == [7 / 80, 1.0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * gib, 6 * gib))
    with pytest.raises(LeftOut, match="6.0 GiB"), budget.limited(session):
        pass


@pytest.mark.parametrize("scheme", ["w4a8", "fp8"])
def test_packed_models_still_draw(pipe, scheme):
    small = quantized(pipe.model, pipe.text, scheme, TINY.pixels)
    assert mgt_core.SCHEMES.name_of(type(small.quantization)) == scheme
    out = mgt_core.sample(
        small, mgt_core.empty_tokens(pipe, *pipe.size), pipe.text.encode("a"), pipe.text.encode(""), steps=2, seed=0
    )
    assert not out.masked.any()


def test_every_part_comes_again_with_the_time_that_is_left():
    assert sorted(AGAIN) == sorted(part.name for part in PARTS)
    shares = [share for _, share in visits()]
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_the_tests_table_is_found_by_its_place():
    assert set(support("families").FAMILIES) <= set(mgt_core.BACKBONES) and len(support("families").TECHNIQUES) > 30


class Original:
    """Stands for the original pipeline in another interpreter: ours, behind the same calls."""

    def __init__(self, checkout, python):
        self.asked = (checkout, python)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pipe = None

    def load(self, bundle, dtype, device):
        self.pipe = mgt_core.load(bundle, dtype, device)

    def run(self, settings, batch, seed):
        return run(self.pipe, ROWS["exact"], settings, batch, seed)

    def logits(self, tokens, prompt, timestep, size):
        return self.pipe.model.logits(tokens[None], self.pipe.text.encode(prompt, size=(size, size)), timestep)[0]


def test_the_original_is_run_beside_on_the_same_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(original, "Reference", Original)
    found = original.beside(Session(CPU, tiny=True, reference=tmp_path, python="python"))
    assert found["logits_largest"] == 0 and found["logits_spread"] > 0.2
    assert found["exact_speed"] == pytest.approx(found["original_seconds"] / found["exact_seconds"])
    assert over_original({"parts": {"original": {"original pipeline": {"status": "done", "figures": found}}}})
    with pytest.raises(LeftOut, match="--reference"):
        original.beside(Session(CPU, tiny=True))
