"""float32 times half-precision weights, by pieces in half precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core.kernels.wide_product import PIECES, by_pieces, pieces, wide_linear

HALF = pytest.mark.parametrize("dtype", PIECES)


def mm(a, b, out_dtype):
    """As torch's on CUDA: products of half precision, added up in float32."""
    assert a.dtype == b.dtype and out_dtype == torch.float32
    return a.float() @ b.float()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), power=st.integers(-8, 8))
def test_three_bfloat16_are_a_float32(seed, power):
    x = torch.randn(64, generator=torch.Generator().manual_seed(seed)) * 10.0**power
    found = pieces(x, torch.bfloat16)
    assert {piece.dtype for piece in found} == {torch.bfloat16}
    assert torch.equal(sum(piece.double() for piece in found), x.double())


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 5), width=st.integers(1, 40), out=st.integers(1, 9))
@HALF
def test_as_near_to_the_product_as_float32_is(dtype, seed, rows, width, out):
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(rows, width, generator=generator), torch.randn(out, width, generator=generator).to(dtype)
    exact = x.double() @ weight.double().T
    error = (by_pieces(x, weight.T, mm) - exact).abs().max()
    bound = 2**-20 * (x.double().abs() @ weight.double().abs().T).max()
    assert error <= bound


@HALF
def test_in_half_precision_alone_it_is_another_number(dtype):
    x, weight = torch.randn(9, 64), torch.randn(5, 64).to(dtype)
    exact = x.double() @ weight.double().T
    near, far = (
        (by_pieces(x, weight.T, mm) - exact).abs().max(),
        (mm(x.to(dtype), weight.T, torch.float32) - exact),
    )
    assert far.abs().max() > 100 * near


@HALF
def test_on_a_processor_it_is_the_float32_product(dtype):
    x, weight = torch.randn(2, 3, 5), torch.randn(7, 5).to(dtype)
    assert torch.equal(wide_linear(x, weight), torch.nn.functional.linear(x, weight.float()))
    assert wide_linear(x[:0], weight).shape == (0, 3, 7)
