"""Products of 8-bit codes: which there are, exact ones of int8, and what is done without."""

import logging

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core.kernels import eight_bit
from mgt_core.kernels.eight_bit import FP8, Machine

CPU = torch.device("cpu")
INT8 = torch.int8
EXACT_WIDTH = 1040  # to which float32 holds every sum of int8 products
needs_vnni = pytest.mark.skipif(not Machine.of(CPU).vnni, reason="torch's int8 product on a CPU wants AVX-512 VNNI")
needs_fp8 = pytest.mark.skipif(
    not eight_bit.works(CPU, FP8, torch.bfloat16), reason="this torch has no fp8 product on a CPU"
)


def codes(rows: int, width: int, seed: int = 0, dtype: torch.dtype = INT8) -> torch.Tensor:
    values = torch.randint(-127, 128, (rows, width), generator=torch.Generator().manual_seed(seed))
    return values.to(INT8) if dtype == INT8 else values.float().to(dtype)


def scales(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, 1, generator=torch.Generator().manual_seed(seed)) + 0.1


CARD = "cuda"
TABLE = [  # machine, type, weight, whether there is a product
    (Machine(CARD, (7, 5)), INT8, (24, 16), True),
    (Machine(CARD, (7, 0)), INT8, (24, 16), False),
    (Machine(CARD, (9, 0)), INT8, (20, 16), False),
    (Machine(CARD, (9, 0)), INT8, (24, 20), False),
    (Machine(CARD, (9, 0)), INT8, (8, 2**18), False),
    (Machine(CARD, (9, 4), hip=True), INT8, (24, 16), False),
    (Machine("cpu", vnni=True), INT8, (3, 5), True),
    (Machine("cpu", vnni=True), INT8, (3, 1), False),
    (Machine("cpu", vnni=True), INT8, (3, 2**18), False),
    (Machine("cpu"), INT8, (24, 16), False),
    (Machine("mps"), INT8, (24, 16), False),
    (Machine(CARD, (8, 9)), FP8, (32, 16), True),
    (Machine(CARD, (12, 0)), FP8, (32, 16), True),
    (Machine(CARD, (8, 6)), FP8, (32, 16), False),
    (Machine(CARD, (8, 9)), FP8, (24, 16), False),
    (Machine(CARD, (8, 9)), FP8, (32, 24), False),
    (Machine(CARD, (9, 4), hip=True), FP8, (32, 16), False),
    (Machine("cpu", vnni=True), FP8, (32, 16), False),
    (Machine(CARD, (9, 0)), torch.uint8, (32, 16), False),
]


@pytest.mark.parametrize("machine, dtype, weight, there", TABLE)
def test_which_products_there_are(machine, dtype, weight, there):
    assert machine.takes(dtype, *weight) == there


@pytest.mark.parametrize(
    "capability, version, there",
    [((9, 0), (2, 6), True), ((9, 0), (2, 5), False), ((8, 9), (2, 7), True), ((8, 9), (2, 6), False)]
    + [((12, 0), (2, 9), True), ((12, 0), (2, 8), False), ((10, 0), (2, 13), True), ((11, 0), (2, 13), False)],
)
def test_where_scales_go_by_row(capability, version, there):
    machine = Machine(CARD, capability, version)
    assert machine.scales_by_row(torch.bfloat16) == there and not machine.scales_by_row(torch.float16)
    assert not Machine(CARD, capability, version, windows=True).scales_by_row(torch.bfloat16)


def test_this_machine():
    here = Machine.of(CPU)
    assert here.kind == "cpu" and here.version >= (2, 4) and here.capability == (0, 0)
    assert Machine.of(torch.device("cuda", 0)).capability == (0, 0) or torch.cuda.is_available()


@needs_vnni
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, EXACT_WIDTH), st.booleans(), st.integers(0, 99))
def test_int8_is_the_float_product_exactly(rows, height, width, by_row, seed):
    a, b = codes(rows, width, seed), codes(height, width, seed + 1)
    bias = torch.rand(height)
    given = (a, scales(rows if by_row else 1), b, scales(height, 1), bias, torch.float32)
    fast, slow = (eight_bit.linear(*given, fast=wanted) for wanted in (True, False))
    assert torch.equal(fast, slow)
    if eight_bit.has_product(CPU, INT8, height, width):
        assert torch.equal(eight_bit.product(a, b, torch.float32), (a.long() @ b.long().T).int())


@needs_vnni
def test_int8_is_exact_where_floats_are_not():
    a, b = torch.full((2, 4099), 127, dtype=INT8), torch.full((8, 4099), 127, dtype=INT8)
    a[:, -1] = 1
    exact = a.long() @ b.long().T
    assert torch.equal(eight_bit.product(a, b, torch.float32).long(), exact)
    assert (F.linear(a.float(), b.float()).long() != exact).any()


@pytest.mark.parametrize("dtype", [INT8, FP8])
@pytest.mark.parametrize("shape", [(0, 16), (2, 0, 16), (16,), (2, 3, 16)])
def test_shapes(shape, dtype):
    """No rows, a single one, rows of several images; and strided weights, as of groups that overhang."""
    x = codes(max(1, torch.Size(shape[:-1]).numel()), 16, dtype=dtype)[: torch.Size(shape[:-1]).numel()].view(shape)
    weight = codes(8, 32, 1, dtype)[:, :16]
    out = eight_bit.linear(x, torch.ones(1), weight, scales(8), None, torch.float32)
    assert out.shape == (*shape[:-1], 8)
    assert torch.allclose(out, F.linear(x.float(), weight.float() * scales(8)), rtol=1e-5, atol=0.1)


@needs_fp8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_fp8_is_the_float_product_but_for_rounding(dtype, by_row, bias, monkeypatch):
    """Torch's own on a CPU, by which it is not chosen."""
    x, weight = codes(2 * 20, 64, dtype=FP8).view(2, 20, 64), codes(32, 64, 1, FP8)
    scale = scales(40).view(2, 20, 1) if by_row else scales(1)[0]
    given = (x, scale / 400, weight, scales(1)[0], torch.rand(32).to(dtype) if bias else None, dtype)
    slow = eight_bit.linear(*given)
    monkeypatch.setattr(eight_bit, "has_product", lambda *asked: True)
    monkeypatch.setattr(eight_bit, "has_rows", lambda device, out: out == torch.bfloat16)
    fast = eight_bit.linear(*given)
    assert fast.dtype == slow.dtype == dtype and fast.shape == (2, 20, 32)
    step = torch.finfo(dtype).eps
    assert (fast.float() - slow.float()).abs().max() <= 4 * step * slow.float().abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows, factors", [(1, 1), (1, 8), (5, 1), (5, 8)])
def test_both_orders_of_scaling_agree(rows, factors, bias, dtype):
    sums = codes(5, 8).int() * 1000
    given = (sums, scales(rows), scales(factors)[:, 0], torch.rand(8).to(dtype) if bias else None, dtype)
    few, recorded = eight_bit.in_few_kernels(*given), eight_bit.as_recorded(*given)
    assert few.dtype == recorded.dtype == dtype
    torch.testing.assert_close(few, recorded, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [INT8, FP8])
def test_halves_hold_every_code(dtype):
    """What is multiplied on a card that has no product of codes."""
    every = torch.arange(256).to(torch.uint8).view(dtype)
    assert torch.equal(every.bfloat16().float().nan_to_num(), every.float().nan_to_num())


def test_a_product_that_fails_is_done_without(monkeypatch, caplog):
    """As in builds that lack it: the same numbers, and one line that says so."""

    def missing(*given):
        raise RuntimeError("_int_mm not compiled for this platform\nand more")

    a, b = codes(3, 16), codes(8, 16, 1)
    given = (a, scales(3), b, scales(8), None, torch.float32)
    wanted = eight_bit.linear(*given, fast=False)
    monkeypatch.setattr(torch, "_int_mm", missing)
    monkeypatch.setattr(Machine, "takes", lambda *asked: True)
    eight_bit.works.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert all(torch.equal(eight_bit.linear(*given), wanted) for _ in range(2))
            assert torch.equal(eight_bit.linear(a, scales(3), b[:5], scales(5), None, torch.float32), wanted[:, :5])
        assert [record.getMessage() for record in caplog.records] == [
            "torch's product of torch.int8 does not work on cpu (_int_mm not compiled for this platform); another way "
            "is taken"
        ]
    finally:
        eight_bit.works.cache_clear()


def test_few_rows_are_padded_on_a_card(monkeypatch):
    """What a card refuses, torch's int8 product of 16 rows or fewer, seen by its operands alone."""
    seen = []

    class Card(torch.Tensor):
        is_cuda = True

    def of_a_card(a, b):
        seen.append(a.shape)
        return torch.ops.aten._int_mm(a.as_subclass(torch.Tensor), b.as_subclass(torch.Tensor))

    monkeypatch.setattr(torch, "_int_mm", of_a_card)
    for rows in (1, 16, 31, 32, 40):
        a, b = codes(rows, 16), codes(8, 16, 1)
        out = eight_bit.product(a.as_subclass(Card), b, torch.float32)
        assert out.shape == (rows, 8) and torch.equal(out.int(), (a.long() @ b.long().T).int())
    assert [shape[0] for shape in seen] == [32, 32, 32, 32, 40]


@needs_vnni
def test_a_compiled_layer_keeps_its_product():
    def compute(a, scale, b, factor):
        return eight_bit.linear(a, scale, b, factor, None, torch.float32)

    given = (codes(5, 16), scales(5), codes(8, 16, 1), scales(8))
    graphs = []

    def look(graph, inputs):
        graphs.append(graph)
        return graph

    assert torch.equal(torch.compile(compute, backend=look, fullgraph=True)(*given), compute(*given))
    assert len(graphs) == 1 and "_int_mm" in graphs[0].code and "zeros" not in graphs[0].code
